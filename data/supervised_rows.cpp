// SPDX-License-Identifier: Apache-2.0
#include "data/supervised_rows.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "data/sampler.h"

namespace orthant {

SupervisedRows::SupervisedRows(std::vector<SupervisedSource> sources, const SupervisedOrder& order)
    : sources_(std::move(sources)), order_(order) {
  ORTHANT_CHECK(!sources_.empty(), kConfig, "data.train: want at least one source, got none");
  for (size_t s = 0; s < sources_.size(); ++s) {
    const SupervisedSource& source = sources_[s];
    const int64_t size = source.examples->size();
    ORTHANT_CHECK(size > 0, kData, "data.train: ", source.name, " gives no example to train on");
    const double draws = std::round(source.weight * static_cast<double>(size));
    ORTHANT_CHECK(draws >= 1 && draws < 0x1p53, kConfig, "data.train: ", source.name, ": weight ",
                  source.weight, " of ", size,
                  " examples is none an epoch; give it more, at least ",
                  1.0 / static_cast<double>(size), ", or leave it out");
    first_.push_back(first_.back() + static_cast<int64_t>(draws));
    keys_.push_back(
        make_key(order_.seed, RandomPurpose::kDataOrder, concat("examples of source ", s)));
  }
  mixture_key_ = make_key(order_.seed, RandomPurpose::kDataOrder, "examples of an epoch");
}

// The example at a place of the shuffled epoch.
ExampleRef SupervisedRows::draw(int64_t epoch, int64_t place) const {
  const int64_t drawn =
      permute(mixture_key_, static_cast<uint64_t>(epoch), place, examples_of_epoch());
  const auto behind = std::upper_bound(first_.begin(), first_.end(), drawn);
  const auto s = static_cast<size_t>(behind - first_.begin()) - 1;
  // A source goes through its examples in one order after the other, whatever an epoch takes.
  const int64_t count = first_[s + 1] - first_[s], size = sources_[s].examples->size();
  const int64_t nth = epoch * count + drawn - first_[s];
  return {static_cast<int>(s),
          permute(keys_[s], static_cast<uint64_t>(nth / size), nth % size, size)};
}

const SupervisedRows::Epoch& SupervisedRows::epoch(int64_t index) const {
  const auto found = epochs_.find(index);
  if (found != epochs_.end()) return found->second;
  epochs_.erase(epochs_.begin(), epochs_.lower_bound(index - 1));
  if (epochs_.size() > 2) epochs_.clear();
  Epoch epoch;
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < examples_of_epoch(); ++i) {
    const ExampleRef ref = draw(index, i);
    epoch.examples.push_back(ref);
    lengths.push_back(sources_[static_cast<size_t>(ref.source)].examples->num_inputs(ref.example));
  }
  epoch.rows = order_.packing ? pack_rows(lengths, order_.sequence_length)
                              : single_rows(static_cast<int64_t>(lengths.size()));
  return epochs_[index] = std::move(epoch);
}

int64_t SupervisedRows::rows_of_epoch(int64_t index) const {
  ORTHANT_CHECK(index >= 0, kInternal, "supervised rows: epoch ", index);
  if (!order_.packing) return examples_of_epoch();
  while (static_cast<int64_t>(first_row_.size()) <= index + 1)
    first_row_.push_back(first_row_.back() +
                         epoch(static_cast<int64_t>(first_row_.size()) - 1).rows.size());
  const auto at = static_cast<size_t>(index);
  return first_row_[at + 1] - first_row_[at];
}

int64_t SupervisedRows::epoch_of_row(int64_t n) const {
  ORTHANT_CHECK(n >= 0, kInternal, "supervised rows: want a row >= 0, got ", n);
  if (!order_.packing) return n / examples_of_epoch();
  while (first_row_.back() <= n) rows_of_epoch(static_cast<int64_t>(first_row_.size()) - 1);
  return std::upper_bound(first_row_.begin(), first_row_.end(), n) - first_row_.begin() - 1;
}

std::vector<ExampleRef> SupervisedRows::row(int64_t n) const {
  const int64_t index = epoch_of_row(n);
  if (!order_.packing) return {draw(index, n % examples_of_epoch())};
  const Epoch& e = epoch(index);
  std::vector<ExampleRef> refs;
  for (const int64_t item : e.rows.row(n - first_row_[static_cast<size_t>(index)]))
    refs.push_back(e.examples[static_cast<size_t>(item)]);
  return refs;
}

double SupervisedRows::epochs_at(int64_t rows) const {
  const int64_t index = epoch_of_row(rows);
  const int64_t first =
      order_.packing ? first_row_[static_cast<size_t>(index)] : index * examples_of_epoch();
  const auto whole = static_cast<double>(rows_of_epoch(index));
  return static_cast<double>(index) + static_cast<double>(rows - first) / whole;
}

std::vector<SourceUse> SupervisedRows::uses_at(int64_t rows) const {
  const double epochs = epochs_at(rows);
  std::vector<SourceUse> uses;
  for (size_t s = 0; s < sources_.size(); ++s) {
    const auto draws = static_cast<double>(first_[s + 1] - first_[s]);
    const int64_t size = sources_[s].examples->size();
    uses.push_back({.name = sources_[s].name,
                    .weight = sources_[s].weight,
                    .share = draws / static_cast<double>(examples_of_epoch()),
                    .windows = size,
                    .epochs = epochs * draws / static_cast<double>(size)});
  }
  return uses;
}

double SupervisedRows::fill(int64_t index) const {
  if (!order_.packing) return 1.0;
  const int64_t rows = rows_of_epoch(index);
  int64_t inputs = 0;
  for (const ExampleRef& ref : epoch(index).examples)
    inputs += sources_[static_cast<size_t>(ref.source)].examples->num_inputs(ref.example);
  return static_cast<double>(inputs) / static_cast<double>(rows * order_.sequence_length);
}

}  // namespace orthant
