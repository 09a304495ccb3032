// SPDX-License-Identifier: Apache-2.0
// Tensors cut into the parts of a group's ranks along the first or the last dimension, without
// gradients: what collectives.h is made of.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "parallel/comm/group.h"

namespace orthant {

// Which part of a dimension each rank holds.
struct Parts {
  int dim = 0;                 // 0, or -1 for the last
  std::vector<int64_t> sizes;  // by rank
  int64_t total() const;
  int64_t begin(int rank) const;
};

// sizes empty: equal parts, `whole` (the full size) divided by the group's size.
Parts make_parts(const char* op, const Group& group, int dim, int num_dims, int64_t whole,
                 std::span<const int64_t> sizes, Site site);

Tensor own_part(const Tensor& whole, const Parts& parts, int rank);
Tensor gather_parts(const Tensor& part, const Parts& parts, const Group& group, Site site);
// The sum over ranks of `whole`, cut.
Tensor reduce_parts(const Tensor& whole, const Parts& parts, const Group& group, Site site);

}  // namespace orthant
