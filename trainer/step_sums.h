// SPDX-License-Identifier: Apache-2.0
// What the micro-batches of a step add up to, in an order that no layout changes: f64 by sequence,
// then over the sequences in global order.
#pragma once

#include <span>
#include <vector>

#include "data/micro_batch.h"
#include "parallel/rank_groups.h"
#include "trainer/stage_pipeline.h"

namespace orthant {

// How much a step has, on all ranks.
struct StepShape {
  double count = 0;                // of the objective
  int64_t routed_tokens = 0;       // that are no padding
  bool stop = false;               // on any rank
  int64_t tokens_before = 0;       // of the data-parallel ranks before this one
  std::vector<int64_t> sequences;  // by data-parallel rank
};
// Error(kInternal) where ranks have different numbers of micro-batches.  Collective.
StepShape agree_on_shape(const RankGroups& groups, const Objective& objective,
                         std::span<const MicroBatch> micro_batches, bool stop);

// Numbers of every sequence of this rank's micro-batches, `per_sequence` each.
class SequenceSums {
 public:
  SequenceSums(int64_t sequences, size_t per_sequence)
      : stride_(per_sequence), values_(static_cast<size_t>(sequences) * per_sequence, 0.0) {}
  double& at(int64_t sequence, size_t number) {
    return values_[static_cast<size_t>(sequence) * stride_ + number];
  }
  // Adds f64 values of local rows, `local_length` of each sequence, from sequence `first` on.
  void add_rows(const Tensor& rows, int64_t local_length, int64_t first, size_t number);
  // The numbers of all sequences of all data-parallel ranks, in global order, with what pipeline
  // and context ranks have of each added up: one of them gives each number.  sequences: by
  // data-parallel rank.  Collective.
  std::vector<double> gather(const RankGroups& groups, const std::vector<int64_t>& sequences) const;

 private:
  size_t stride_;
  std::vector<double> values_;
};

}  // namespace orthant
