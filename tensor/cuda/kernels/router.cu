// SPDX-License-Identifier: Apache-2.0
// Router, its gradient and token dropping, on the device.
#include "tensor/cuda/kernels/device.cuh"
#include "tensor/cuda/kernels/drop_tokens_body.h"
#include "tensor/cuda/kernels/kernels.h"
#include "tensor/cuda/kernels/router_body.h"

namespace orthant::cuda::kernels {

void fill_router(Backend& table) {
  table.router = router<DeviceExec>;
  table.router_grad = router_grad<DeviceExec>;
  table.drop_tokens = drop_tokens<DeviceExec>;
}

}  // namespace orthant::cuda::kernels
