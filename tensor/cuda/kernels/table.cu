// SPDX-License-Identifier: Apache-2.0
// All kernels of this folder in the table.
#include "tensor/cuda/kernels/kernels.h"

namespace orthant::cuda {

void fill_kernels(Backend& table) {
  kernels::fill_activation(table);
  kernels::fill_attention(table);
  kernels::fill_cross_entropy(table);
  kernels::fill_dequantize(table);
  kernels::fill_elementwise(table);
  kernels::fill_embedding(table);
  kernels::fill_norm(table);
  kernels::fill_optimizer(table);
  kernels::fill_routed_rows(table);
  kernels::fill_router(table);
}

}  // namespace orthant::cuda
