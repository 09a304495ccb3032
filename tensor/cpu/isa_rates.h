// SPDX-License-Identifier: Apache-2.0
// How fast each instruction-set level multiplies bf16 matrices here.
#pragma once

#include "tensor/cpu/isa.h"

namespace orthant::cpu {

// On the calling thread, of the levels from avx512 to `highest`; all zero where there are no two to
// compare.  Takes a few milliseconds, and some more where the highest level is not the fastest.
IsaRates measure_isa_rates(Isa highest);

}  // namespace orthant::cpu
