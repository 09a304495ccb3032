// SPDX-License-Identifier: Apache-2.0
// How fast matrices are multiplied here: for the choice of an instruction-set level, and for MFU.
#pragma once

#include "tensor/cpu/isa.h"
#include "tensor/dtype.h"

namespace orthant::cpu {

// Of bf16 products on the calling thread, at the levels from avx512 to `highest`; all zero where
// there are no two to compare.  Takes a few milliseconds, and some more where the highest level is
// not the fastest.
IsaRates measure_isa_rates(Isa highest);

// Operations a second of all threads of the calling rank, at the active level: the sum of what each
// reaches at its best while all are at work.  So another program that takes a processor now and
// then changes little, and a processor's clock, or a core that threads share, counts as it is under
// load.  Threads that there are no processors for count nothing.  Takes about 40 ms.
double measure_threads_rate(DType dtype);

}  // namespace orthant::cpu
