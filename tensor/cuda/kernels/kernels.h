// SPDX-License-Identifier: Apache-2.0
// The plain kernels of the CUDA backend: every op of the table but matmul and grouped_matmul.
// element.h says how they are built.
#pragma once

#include "tensor/backend.h"

namespace orthant::cuda {

// Fills in the ops that this folder has.
void fill_kernels(Backend& table);

namespace kernels {
void fill_activation(Backend& table);
void fill_attention(Backend& table);
void fill_cross_entropy(Backend& table);
void fill_dequantize(Backend& table);
void fill_elementwise(Backend& table);
void fill_embedding(Backend& table);
void fill_norm(Backend& table);
void fill_optimizer(Backend& table);
void fill_routed_rows(Backend& table);
void fill_router(Backend& table);
}  // namespace kernels

}  // namespace orthant::cuda
