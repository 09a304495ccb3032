// SPDX-License-Identifier: Apache-2.0
// SwiGLU, rotary and softmax, on the device.
#include "tensor/cuda/kernels/activation_body.h"
#include "tensor/cuda/kernels/device.cuh"
#include "tensor/cuda/kernels/kernels.h"

namespace orthant::cuda::kernels {

void fill_activation(Backend& table) {
  table.swiglu = swiglu<DeviceExec>;
  table.swiglu_grad = swiglu_grad<DeviceExec>;
  table.rotary = rotary<DeviceExec>;
  table.softmax = softmax<DeviceExec>;
  table.softmax_grad = softmax_grad<DeviceExec>;
}

}  // namespace orthant::cuda::kernels
