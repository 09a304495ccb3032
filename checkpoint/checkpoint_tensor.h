// SPDX-License-Identifier: Apache-2.0
// What a rank holds of one logical tensor, as checkpoints take and give it.
#pragma once

#include <string>
#include <vector>

#include "parallel/reshard.h"
#include "tensor/tensor.h"

namespace orthant {

// Names are free of the layout and match [A-Za-z0-9._-]+.  `data` has the slice's elements in
// order, in any shape, on any device.  Equal slices of one tensor on several ranks are replicas.
struct CheckpointTensor {
  std::string name;
  Shape global_shape;
  std::vector<int64_t> begin;  // of the rectangle
  Shape shape;                 // of the rectangle
  int64_t flat_begin = 0;      // elements of the rectangle, for ZeRO
  int64_t flat_size = -1;      // -1: the whole rectangle
  Tensor data;

  TensorSlice slice() const { return {begin, shape, flat_begin, flat_size}; }
};

}  // namespace orthant
