// SPDX-License-Identifier: Apache-2.0
#include "data/supervised_batches.h"

#include <algorithm>

#include "base/error.h"

namespace orthant {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

const SupervisedOptions& checked(const SupervisedOptions& o) {
  ORTHANT_CHECK(o.order.sequence_length > 0 && o.micro_batch_size > 0 && o.length_multiple > 0 &&
                    o.sizes.global > 0 && o.sizes.global % o.micro_batch_size == 0,
                kConfig, "batch: want positive sizes and global_batch_size a multiple of ",
                "micro_batch_size, got sequence_length ", o.order.sequence_length,
                ", micro_batch_size ", o.micro_batch_size, ", global_batch_size ", o.sizes.global);
  return o;
}

}  // namespace

int64_t place_example(MicroBatch& batch, int64_t row, int64_t at, std::span<const int32_t> ids,
                      std::span<const uint8_t> trained) {
  const int64_t end = at + static_cast<int64_t>(ids.size()) - 1;
  ORTHANT_CHECK(row >= 0 && row < batch.sequences && at >= 0 && end <= batch.length, kInternal,
                "place_example: ", ids.size(), " ids at ", at, " of row ", row,
                " do not fit a batch of ", batch.sequences, " x ", batch.length);
  const auto base = static_cast<size_t>(row * batch.length + at);
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    batch.ids[base + i] = ids[i];
    batch.labels[base + i] = trained[i + 1] ? ids[i + 1] : kIgnoredLabel;
    batch.doc_start[base + i] = static_cast<int32_t>(at);
    batch.positions[base + i] = static_cast<int32_t>(i);
  }
  return end;
}

int64_t place_example(MicroBatch& batch, int64_t row, int64_t at, const Examples& examples,
                      int64_t example, int64_t first_label) {
  const int64_t end =
      place_example(batch, row, at, examples.ids(example), examples.trained(example));
  std::vector<double>& numbers = batch.token_columns[kLabelNumbers];
  numbers.resize(static_cast<size_t>(batch.num_tokens()), -1.0);
  int64_t number = first_label + examples.num_trained_before(example);
  for (int64_t i = row * batch.length + at; i < row * batch.length + end; ++i)
    if (batch.labels[static_cast<size_t>(i)] >= 0)
      numbers[static_cast<size_t>(i)] = static_cast<double>(number++);
  return end;
}

SupervisedBatches::SupervisedBatches(std::vector<SupervisedSource> sources,
                                     const SupervisedOptions& options)
    : rows_(std::move(sources), checked(options).order), options_(options) {}

MicroBatch SupervisedBatches::micro_batch(int64_t first_row) const {
  const SupervisedOptions& o = options_;
  std::vector<std::vector<ExampleRef>> rows;
  int64_t length = o.order.sequence_length, longest = 0;
  for (int64_t r = 0; r < o.micro_batch_size; ++r) {
    rows.push_back(rows_.row(first_row + r));
    for (const auto [source, example] : rows.back())
      longest = std::max(
          longest, rows_.sources()[static_cast<size_t>(source)].examples->num_inputs(example));
  }
  if (!o.order.packing)
    length = std::min(length, divide_up(longest, o.length_multiple) * o.length_multiple);
  MicroBatch batch = make_padding_batch(o.micro_batch_size, length, o.pad);
  for (int64_t r = 0; r < o.micro_batch_size; ++r) {
    batch.sample_ids[static_cast<size_t>(r)] = first_row + r;
    int64_t at = 0;
    for (const auto [source, example] : rows[static_cast<size_t>(r)]) {
      const SupervisedSource& from = rows_.sources()[static_cast<size_t>(source)];
      at = place_example(batch, r, at, *from.examples, example, from.first_label);
    }
  }
  return batch;
}

// A loss over no token would be 0, or none at all.
void SupervisedBatches::check_step(int64_t first_row, int64_t count) const {
  std::string places;
  for (int64_t n = first_row; n < first_row + count; ++n) {
    for (const auto [source, example] : rows_.row(n)) {
      const Examples& examples = *rows_.sources()[static_cast<size_t>(source)].examples;
      if (examples.num_trained(example) > 0) return;
      places += concat(places.empty() ? "" : ", ", examples.where(example));
    }
  }
  throw_error(ErrorKind::kData, concat("rows ", first_row, " to ", first_row + count - 1,
                                       " of the run: want a trained token in the batch of a step, "
                                       "got none in ",
                                       places));
}

std::vector<MicroBatch> SupervisedBatches::step_share(int64_t step, int64_t rank,
                                                      int64_t num_ranks) const {
  const int64_t size = options_.sizes.size_of_step(step + 1);
  const int64_t unit = options_.micro_batch_size * num_ranks;
  ORTHANT_CHECK(step >= 0 && rank >= 0 && rank < num_ranks && size % unit == 0, kConfig,
                "supervised batches: rank ", rank, " of ", num_ranks,
                " cannot take an equal part of the ", size, " rows of step ", step);
  const int64_t first = options_.sizes.samples_after(step);
  check_step(first, size);
  const int64_t share = size / num_ranks;
  std::vector<MicroBatch> batches;
  for (int64_t at = 0; at < share; at += options_.micro_batch_size)
    batches.push_back(micro_batch(first + rank * share + at));
  return batches;
}

SupervisedEvaluation::SupervisedEvaluation(std::shared_ptr<const Examples> examples,
                                           const SupervisedEvaluationOptions& options)
    : examples_(std::move(examples)), options_(options) {
  const SupervisedEvaluationOptions& o = options_;
  ORTHANT_CHECK(o.sequence_length > 0 && o.micro_batch_size > 0 && o.max_tokens >= 0 &&
                    o.rank >= 0 && o.rank < o.num_ranks,
                kConfig, "evaluation: want positive sizes, got sequence_length ", o.sequence_length,
                ", micro_batch_size ", o.micro_batch_size, ", tokens ", o.max_tokens, ", rank ",
                o.rank, " of ", o.num_ranks);
  ORTHANT_CHECK(examples_->size() > 0, kData, "evaluation: want held-out examples, got none");
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < examples_->size(); ++i) lengths.push_back(examples_->num_inputs(i));
  rows_ = pack_rows(lengths, o.sequence_length);
  num_rows_ = rows_.size();
  if (o.max_tokens > 0) num_rows_ = std::min(num_rows_, divide_up(o.max_tokens, o.sequence_length));
  for (int64_t row = 0; row < num_rows_; ++row)
    for (const int64_t example : rows_.row(row)) num_labels_ += examples_->num_trained(example);
  batches_per_rank_ = divide_up(divide_up(num_rows_, o.micro_batch_size), o.num_ranks);
}

MicroBatch SupervisedEvaluation::batch(int64_t index) const {
  const SupervisedEvaluationOptions& o = options_;
  ORTHANT_CHECK(index >= 0 && index < batches_per_rank_, kInternal, "evaluation: batch ", index,
                " of ", batches_per_rank_);
  MicroBatch batch = make_padding_batch(o.micro_batch_size, o.sequence_length, o.pad);
  for (int64_t r = 0; r < o.micro_batch_size; ++r) {
    const int64_t row = (o.rank * batches_per_rank_ + index) * o.micro_batch_size + r;
    if (row >= num_rows_) break;
    batch.sample_ids[static_cast<size_t>(r)] = row;
    int64_t at = 0;
    for (const int64_t example : rows_.row(row))
      at = place_example(batch, r, at, *examples_, example, o.first_label);
  }
  return batch;
}

}  // namespace orthant
