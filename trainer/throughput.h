// SPDX-License-Identifier: Apache-2.0
// What a rank can do at most, for MFU.
#pragma once

#include "tensor/device.h"
#include "tensor/dtype.h"

namespace orthant {

// Operations a second of this rank's matrix products on the device: of all its threads on the CPU
// (tensor/cpu/product_rate.h), else the best of products that grow until the device is busy.  A
// measured ceiling, not the theoretical one.  Takes about 40 ms.
double measure_product_rate(DType dtype, Device device = {});

}  // namespace orthant
