// SPDX-License-Identifier: Apache-2.0
// The norm of a step's gradients, the same bits on every rank and for every layout that gives the
// same gradients: f64 sums of squares over blocks of 4,096 elements of each logical tensor, added
// in block order, then in the order of names.
//
// Each rank squares the blocks of its own slices, with and without ZeRO; the sums of the blocks are
// exchanged (8 bytes for 4,096 elements) between the ranks that hold the same parameters.  Then the
// ranks that hold the model together tell each other a number for each rectangle of a tensor: of
// those that several ranks hold the first one's counts.
#pragma once

#include <string>
#include <vector>

#include "parallel/gradient_buffers.h"

namespace orthant {

class GradientNorm {
 public:
  // model: ranks that hold all of the model together.  Collective over it.
  GradientNorm(const GradientBuffers& gradients, const Group& model);
  // Of grad_scale * (summed gradients).  Collective over the buckets' groups and `model`.
  double norm(const GradientBuffers& gradients, double grad_scale) const;

 private:
  // What one rank squares of one rectangle.
  struct Piece {
    size_t bucket = 0;
    ElementRange range;    // in the bucket
    size_t rectangle = 0;  // index into rectangles_
    int64_t num_blocks() const { return (range.size() + kNormBlock - 1) / kNormBlock; }
  };
  // The buckets of one group.
  struct Exchange {
    Group group;
    std::vector<std::vector<Piece>> pieces;  // by rank, then bucket, then place
    std::vector<int64_t> num_blocks;         // by rank
  };
  void add_bucket(size_t index, const Bucket& bucket);
  void share_out();
  std::vector<double> squares_by_rectangle(const GradientBuffers& gradients) const;

  Group model_;
  std::vector<Exchange> exchanges_;
  std::vector<std::string> rectangles_;  // of this rank: name and where it begins
  std::vector<size_t> told_;             // those of rectangles_ that this rank tells
  // Of all that ranks tell, in order: the place among the names.
  std::vector<std::vector<size_t>> told_names_;  // by rank
  size_t num_names_ = 0;
};

}  // namespace orthant
