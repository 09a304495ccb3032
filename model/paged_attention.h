// SPDX-License-Identifier: Apache-2.0
// Attention of new tokens over a layer's cache.
#pragma once

#include <span>

#include "model/kv_cache.h"
#include "tensor/autograd/ops.h"

namespace orthant {

// Of consecutive parts of a step, whose queries are columns [0, heads * qk_dim) of the rows of x.
// Keys are the cache's part 0, values its part `values`, or the beginning of each key where that is
// 0.  -> o [rows, heads * v_dim].  The shape's batch is not looked at.
void attend_pages(const AttentionShape& shape, const Tensor& x, const LayerCache& cache,
                  std::span<const DecodeStep::Part> parts, size_t values, const Tensor& o);

}  // namespace orthant
