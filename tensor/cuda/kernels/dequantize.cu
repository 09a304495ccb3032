// SPDX-License-Identifier: Apache-2.0
// dequantize, on the device.
#include "tensor/cuda/kernels/dequantize_body.h"
#include "tensor/cuda/kernels/device.cuh"
#include "tensor/cuda/kernels/kernels.h"

namespace orthant::cuda::kernels {

void fill_dequantize(Backend& table) { table.dequantize = dequantize<DeviceExec>; }

}  // namespace orthant::cuda::kernels
