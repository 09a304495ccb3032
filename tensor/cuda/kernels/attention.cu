// SPDX-License-Identifier: Apache-2.0
// Attention and its gradient, on the device.
#include "tensor/cuda/kernels/attention_body.h"
#include "tensor/cuda/kernels/device.cuh"
#include "tensor/cuda/kernels/kernels.h"

namespace orthant::cuda::kernels {

void fill_attention(Backend& table) {
  table.attention = attention<DeviceExec>;
  table.attention_grad = attention_grad<DeviceExec>;
  table.paged_attention = paged_attention<DeviceExec>;
}

}  // namespace orthant::cuda::kernels
