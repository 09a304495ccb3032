// SPDX-License-Identifier: Apache-2.0
// Which examples the n-th row of a run of supervised training holds: a pure function of
// (examples, options, n), whatever the ranks and wherever a run begins.
//
// An epoch takes every example of a source of weight 1 once.  Weight w is how often: 0.1 takes a
// tenth of them, the next epoch the next tenth, 2 takes each twice.  The examples of an epoch are
// shuffled, all sources together, and become rows (data/packing.h), which end with the epoch.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/philox.h"
#include "data/examples.h"
#include "data/loader.h"
#include "data/packing.h"

namespace orthant {

struct SupervisedSource {
  std::shared_ptr<const Examples> examples;
  double weight = 1.0;
  std::string name = {};    // for people
  int64_t first_label = 0;  // number of its first trained label, over all sources of the run
};

struct ExampleRef {
  int source = 0;
  int64_t example = 0;
  auto operator<=>(const ExampleRef&) const = default;
};

struct SupervisedOrder {
  uint64_t seed = 0;
  int64_t sequence_length = 0;
  bool packing = true;
};

class SupervisedRows {
 public:
  // Error(kConfig): no source, or a weight with which an epoch would take nothing of it;
  // Error(kData): a source without examples.
  SupervisedRows(std::vector<SupervisedSource> sources, const SupervisedOrder& order);

  std::vector<ExampleRef> row(int64_t n) const;
  int64_t rows_of_epoch(int64_t epoch) const;
  int64_t epoch_of_row(int64_t n) const;
  // Passes over the data that the first `rows` rows are: 1.5, half of the second.
  double epochs_at(int64_t rows) const;
  // By source, once so many rows are taken; its windows are its examples.
  std::vector<SourceUse> uses_at(int64_t rows) const;
  int64_t examples_of_epoch() const { return first_.back(); }
  // Share of an epoch's places that hold tokens; without packing 1.
  double fill(int64_t epoch) const;
  const std::vector<SupervisedSource>& sources() const { return sources_; }

 private:
  struct Epoch {
    std::vector<ExampleRef> examples;  // shuffled
    PackedRows rows;
  };
  ExampleRef draw(int64_t epoch, int64_t place) const;
  const Epoch& epoch(int64_t index) const;

  std::vector<SupervisedSource> sources_;
  SupervisedOrder order_;
  std::vector<int64_t> first_{0};  // [sources + 1] running sum of an epoch's draws
  std::vector<PhiloxKey> keys_;    // [sources]
  PhiloxKey mixture_key_;
  // What was worked out last; one thread at a time.
  mutable std::map<int64_t, Epoch> epochs_;
  mutable std::vector<int64_t> first_row_{0};  // of each epoch so far
};

}  // namespace orthant
