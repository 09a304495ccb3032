// SPDX-License-Identifier: Apache-2.0
// What a rank can do at most, for MFU.
#pragma once

#include "tensor/dtype.h"

namespace orthant {

// Operations a second of this rank's matrix products: the best of a few products that fit in cache,
// on all its threads.  A measured ceiling, not the processor's theoretical one.  Takes about 20 ms.
double measure_product_rate(DType dtype);

}  // namespace orthant
