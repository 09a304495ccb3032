// SPDX-License-Identifier: Apache-2.0
// How activations pass between what tensor-parallel ranks compute together.
//
// Blocks (attention, feed-forward) cut their first product by rows and their second by columns, so
// that a rank computes whole heads and a part of the inner width; the results are partial sums.
// Shoeybi et al., arXiv:1909.08053.  What stands between the blocks, the stream, is
//   with sequence parallelism    each rank's own rows (Korthikanti et al., arXiv:2205.05198)
//   without                      all rows, on every rank
// Rows are the N tokens of a micro-batch; rank r of P owns [r N / P, (r + 1) N / P).  Every call is
// collective over the group, in forward and backward; in a group of one all give x itself.
#pragma once

#include <vector>

#include "parallel/comm/group.h"
#include "tensor/autograd/var.h"

namespace orthant {

// [begin, begin + size) of a dimension.
struct DimPart {
  int64_t begin = 0, size = -1;  // -1: all of it
  DimPart within(int64_t whole) const { return size < 0 ? DimPart{0, whole} : *this; }
};
// The share of one rank; shares differ by at most 1.
inline DimPart even_part(int64_t whole, int rank, int ranks) {
  const int64_t begin = whole * rank / ranks;
  return {begin, whole * (rank + 1) / ranks - begin};
}

class TensorParallel {
 public:
  TensorParallel() = default;
  TensorParallel(const Group& group, bool sequence_parallel)
      : group_(group), sequence_parallel_(sequence_parallel) {}

  const Group& group() const { return group_; }
  bool cuts_rows() const { return sequence_parallel_ && group_.size() > 1; }
  // This rank's share of `whole` heads, widths, ids or rows.
  DimPart part(int64_t whole) const { return even_part(whole, group_.rank(), group_.size()); }
  std::vector<int64_t> sizes(int64_t whole) const;  // of all ranks

  // From the stream to all rows, for a product that ranks cut by its outputs: gradients are partial
  // sums.
  Var enter(const Var& x, int64_t rows) const;
  // From partial sums of all rows back to the stream.
  Var leave(const Var& y, int64_t rows) const;
  // From the stream to this rank's rows, each of which one rank alone computes with, and back.
  Var own_rows(const Var& x, int64_t rows) const;
  Var stream_of(const Var& own, int64_t rows) const;

 private:
  Group group_ = Group::self();
  bool sequence_parallel_ = true;
};

}  // namespace orthant
