// SPDX-License-Identifier: Apache-2.0
// The norm of a step's gradients, the same bits on every rank and for every layout that gives the
// same gradients: f64 sums of squares over blocks of 4,096 elements of each logical tensor, added
// in block order, then in the order of names.
//
// Each rank squares the blocks of its own slices, with and without ZeRO; the sums of the blocks are
// exchanged (8 bytes for 4,096 elements), and everybody adds them up.  Experts' tensors are then
// exchanged between the ranks that hold different ones, a number each.
#pragma once

#include <string>
#include <vector>

#include "parallel/gradient_buffers.h"

namespace orthant {

class GradientNorm {
 public:
  // experts: the ranks that hold each expert once, together; what is not an expert's is the same
  // on all of them.  Collective over it.
  GradientNorm(const GradientBuffers& gradients, const Group& experts);
  // Of grad_scale * (summed gradients).  Collective over the buckets' groups and the experts'.
  double norm(const GradientBuffers& gradients, double grad_scale) const;

 private:
  // What one rank squares of one logical tensor.
  struct Piece {
    size_t bucket = 0;
    ElementRange range;  // in the bucket
    size_t tensor = 0;   // index into names_
    int64_t num_blocks() const { return (range.size() + kNormBlock - 1) / kNormBlock; }
  };
  // The buckets of one group, dense or expert.
  struct Exchange {
    Group group;
    std::vector<std::vector<Piece>> pieces;  // by rank, then bucket, then place
    std::vector<int64_t> num_blocks;         // by rank
  };
  void add_bucket(size_t index, const Bucket& bucket, Exchange& exchange);
  void order_by_name();
  std::vector<double> squares_by_tensor(const GradientBuffers& gradients) const;

  Group experts_;
  std::vector<Exchange> exchanges_;
  std::vector<std::string> names_;  // of this rank's logical tensors, experts' last
  size_t num_dense_ = 0;
  // Where squares are added: positions in the order of the names of all ranks' tensors.
  std::vector<size_t> dense_positions_;
  std::vector<size_t> expert_positions_;  // of all ranks' experts' tensors, by rank
  size_t num_positions_ = 0;
};

}  // namespace orthant
