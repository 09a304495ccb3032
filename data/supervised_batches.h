// SPDX-License-Identifier: Apache-2.0
// Micro-batches of supervised training, and of held-out examples.
//
// Row r of micro-batch m of a step is row s + m * micro_batch_size + r of the run, s the rows of
// the steps before it, whatever the rank; ranks have equal, contiguous parts of a step, as with
// data/loader.h.  The label of a token is the next one of its example, where that is trained.
#pragma once

#include <cstdint>
#include <vector>

#include "data/batch_sizes.h"
#include "data/micro_batch.h"
#include "data/supervised_rows.h"

namespace orthant {

// A token column: the number of each label over all sources, -1 where there is none.
inline constexpr const char* kLabelNumbers = "label_numbers";

struct SupervisedOptions {
  SupervisedOrder order;
  int64_t micro_batch_size = 0;
  BatchSizes sizes;  // multiples of micro_batch_size * ranks
  int32_t pad = 0;   // id of padding
  // Without packing a micro-batch is as long as its longest example, rounded up to a multiple of
  // this, but not beyond sequence_length.
  int64_t length_multiple = 8;
};

class SupervisedBatches {
 public:
  // Error(kConfig), kData: as SupervisedRows, and sizes that do not fit together.
  SupervisedBatches(std::vector<SupervisedSource> sources, const SupervisedOptions& options);

  // `step` from 0.  The rank-th of num_ranks parts.  Error(kData) naming the rows where no rank has
  // a trained token in the step.  One thread at a time.
  std::vector<MicroBatch> step_share(int64_t step, int64_t rank, int64_t num_ranks) const;
  int64_t rows_of_epoch(int64_t epoch = 0) const { return rows_.rows_of_epoch(epoch); }
  double epochs_at(int64_t samples) const { return rows_.epochs_at(samples); }
  const SupervisedRows& rows() const { return rows_; }

 private:
  MicroBatch micro_batch(int64_t first_row) const;
  void check_step(int64_t first_row, int64_t count) const;

  SupervisedRows rows_;
  SupervisedOptions options_;
};

struct SupervisedEvaluationOptions {
  int64_t sequence_length = 0, micro_batch_size = 0;
  int32_t pad = 0;
  int64_t max_tokens = 0;  // stop behind the row with this many places; 0: all
  int64_t rank = 0;        // among the ranks that share the work
  int64_t num_ranks = 1;
  int64_t first_label = 0;  // SupervisedSource::first_label
};

// Packed rows of all examples, in their order: each trained label exactly once.
class SupervisedEvaluation {
 public:
  // Error(kConfig): sizes; Error(kData): no example.
  SupervisedEvaluation(std::shared_ptr<const Examples> examples,
                       const SupervisedEvaluationOptions& options);

  // Batches of this rank, all of one shape; the same number on every rank.  Rank r has the r-th
  // contiguous block of them; behind the last row a batch is padding.
  int64_t num_batches() const { return batches_per_rank_; }
  MicroBatch batch(int64_t index) const;
  // Over all ranks together:
  int64_t num_rows() const { return num_rows_; }
  int64_t num_labels() const { return num_labels_; }

 private:
  std::shared_ptr<const Examples> examples_;
  SupervisedEvaluationOptions options_;
  PackedRows rows_;
  int64_t num_rows_ = 0, num_labels_ = 0, batches_per_rank_ = 0;
};

// Puts an example into a row of a batch, at index `at` of the row; returns where it ends there.
int64_t place_example(MicroBatch& batch, int64_t row, int64_t at, std::span<const int32_t> ids,
                      std::span<const uint8_t> trained);
// The same with the numbers of its labels; first_label: of the first one of `examples`.
int64_t place_example(MicroBatch& batch, int64_t row, int64_t at, const Examples& examples,
                      int64_t example, int64_t first_label);

}  // namespace orthant
