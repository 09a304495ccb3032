// SPDX-License-Identifier: Apache-2.0
// Optimizer steps and sums of squares, on the device.
#include "tensor/cuda/kernels/device.cuh"
#include "tensor/cuda/kernels/kernels.h"
#include "tensor/cuda/kernels/optimizer_body.h"

namespace orthant::cuda::kernels {

void fill_optimizer(Backend& table) {
  table.adamw = adamw<DeviceExec>;
  table.sgd = sgd<DeviceExec>;
  table.sum_squares = sum_squares<DeviceExec>;
}

}  // namespace orthant::cuda::kernels
