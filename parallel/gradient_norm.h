// SPDX-License-Identifier: Apache-2.0
// The norm of a step's gradients, the same bits on every rank and for every layout that gives the
// same gradients: f64 sums of squares over blocks of 4,096 elements of each logical tensor, added
// in block order, then in the order of names.
//
// Each rank squares the blocks of its own slices, with and without ZeRO; the sums of the blocks are
// exchanged (8 bytes for 4,096 elements), and everybody adds them up.
#pragma once

#include <string>
#include <vector>

#include "parallel/gradient_buffers.h"

namespace orthant {

class GradientNorm {
 public:
  explicit GradientNorm(const GradientBuffers& gradients);
  // Of grad_scale * (summed gradients).  Collective over the buckets' groups.
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

  std::vector<std::string> names_;
  std::vector<size_t> by_name_;  // indices into names_, sorted
  std::vector<Exchange> exchanges_;
};

}  // namespace orthant
