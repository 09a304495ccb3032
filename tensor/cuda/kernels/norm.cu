// SPDX-License-Identifier: Apache-2.0
// RMS norm and its gradient, on the device.
#include "tensor/cuda/kernels/device.cuh"
#include "tensor/cuda/kernels/kernels.h"
#include "tensor/cuda/kernels/norm_body.h"

namespace orthant::cuda::kernels {

void fill_norm(Backend& table) {
  table.rms_norm = rms_norm<DeviceExec>;
  table.rms_norm_grad = rms_norm_grad<DeviceExec>;
}

}  // namespace orthant::cuda::kernels
