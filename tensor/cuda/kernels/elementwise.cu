// SPDX-License-Identifier: Apache-2.0
// add, scale, cast, fill, copy_heads and dropout, on the device.
#include "tensor/cuda/kernels/device.cuh"
#include "tensor/cuda/kernels/elementwise_body.h"
#include "tensor/cuda/kernels/kernels.h"

namespace orthant::cuda::kernels {

void fill_elementwise(Backend& table) {
  table.add = add<DeviceExec>;
  table.scale = scale<DeviceExec>;
  table.cast = cast<DeviceExec>;
  table.fill = fill<DeviceExec>;
  table.copy_heads = copy_heads<DeviceExec>;
  table.dropout = dropout<DeviceExec>;
}

}  // namespace orthant::cuda::kernels
