// SPDX-License-Identifier: Apache-2.0
#include "layers/tensor_parallel.h"

#include "parallel/collectives.h"

namespace orthant {

std::vector<int64_t> TensorParallel::sizes(int64_t whole) const {
  std::vector<int64_t> sizes;
  for (int r = 0; r < group_.size(); ++r) sizes.push_back(even_part(whole, r, group_.size()).size);
  return sizes;
}

Var TensorParallel::enter(const Var& x, int64_t rows) const {
  return sequence_parallel_ ? gather_partial(x, 0, group_, sizes(rows)) : copy_to(x, group_);
}

Var TensorParallel::leave(const Var& y, int64_t rows) const {
  return sequence_parallel_ ? reduce_scatter(y, 0, group_, sizes(rows)) : reduce_from(y, group_);
}

Var TensorParallel::own_rows(const Var& x, int64_t rows) const {
  return sequence_parallel_ ? x : split_to(x, 0, group_, sizes(rows));
}

Var TensorParallel::stream_of(const Var& own, int64_t rows) const {
  return sequence_parallel_ ? own : gather_replicated(own, 0, group_, sizes(rows));
}

}  // namespace orthant
