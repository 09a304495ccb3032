// SPDX-License-Identifier: Apache-2.0
// RMS norm, scaled columns and their gradients, on the device.
#include "tensor/cuda/kernels/column_scale_body.h"
#include "tensor/cuda/kernels/device.cuh"
#include "tensor/cuda/kernels/kernels.h"
#include "tensor/cuda/kernels/norm_body.h"

namespace orthant::cuda::kernels {

void fill_norm(Backend& table) {
  table.scale_columns = scale_columns<DeviceExec>;
  table.scale_columns_grad = scale_columns_grad<DeviceExec>;
  table.rms_norm = rms_norm<DeviceExec>;
  table.rms_norm_grad = rms_norm_grad<DeviceExec>;
}

}  // namespace orthant::cuda::kernels
