// SPDX-License-Identifier: Apache-2.0
// Dispatch plan, combine and its gradient, on the device.
#include "tensor/cuda/kernels/device.cuh"
#include "tensor/cuda/kernels/kernels.h"
#include "tensor/cuda/kernels/routed_rows_body.h"

namespace orthant::cuda::kernels {

void fill_routed_rows(Backend& table) {
  table.combine = combine<DeviceExec>;
  table.combine_grad = combine_grad<DeviceExec>;
  table.dispatch_plan = dispatch_plan<DeviceExec>;
}

}  // namespace orthant::cuda::kernels
