// SPDX-License-Identifier: Apache-2.0
// The named tensors of a model, apart from how they are stored.
#pragma once

#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace orthant {

struct LogicalTensor {
  std::string name;            // "model.layers.3.mlp.experts.7.gate_proj.weight"
  Shape global_shape;          // of the whole tensor
  std::vector<int64_t> begin;  // where this rank's rectangle starts, one per dimension
  Shape shape;                 // its size
  int64_t offset = 0;          // of its first element in the storage, in elements
  // Initial values: normal ones with this deviation; 0: uniform ones up to init_bound and down to
  // its negative; both 0: init_value.
  double init_std = 0.0, init_bound = 0.0, init_value = 0.0;

  bool is_whole() const { return shape == global_shape; }
};
// A tensor that this rank holds whole.
LogicalTensor whole_tensor(std::string name, const Shape& shape, int64_t offset, double init_std);

// Initial values of elements [first, first + part.numel()) of the rectangle: Philox numbers by
// (seed, name, index in the whole tensor), the same for every layout.
void fill_initial(const LogicalTensor& tensor, int64_t first, const Tensor& part, uint64_t seed);

}  // namespace orthant
