// SPDX-License-Identifier: Apache-2.0
// Cross-entropy and divergences, on the device.
#include "tensor/cuda/kernels/cross_entropy_body.h"
#include "tensor/cuda/kernels/device.cuh"
#include "tensor/cuda/kernels/divergence_body.h"
#include "tensor/cuda/kernels/kernels.h"

namespace orthant::cuda::kernels {

void fill_cross_entropy(Backend& table) {
  table.vocab_sums = vocab_sums<DeviceExec>;
  table.cross_entropy = cross_entropy<DeviceExec>;
  table.divergence = divergence<DeviceExec>;
}

}  // namespace orthant::cuda::kernels
