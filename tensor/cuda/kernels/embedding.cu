// SPDX-License-Identifier: Apache-2.0
// Rows by id, and the gradient of a table, on the device.
#include "tensor/cuda/kernels/device.cuh"
#include "tensor/cuda/kernels/embedding_body.h"
#include "tensor/cuda/kernels/kernels.h"

namespace orthant::cuda::kernels {

void fill_embedding(Backend& table) {
  table.embedding = embedding<DeviceExec>;
  table.embedding_grad = embedding_grad<DeviceExec>;
  table.gather_rows = gather_rows<DeviceExec>;
}

}  // namespace orthant::cuda::kernels
