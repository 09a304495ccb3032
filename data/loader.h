// SPDX-License-Identifier: Apache-2.0
// Micro-batches of training samples, read ahead in the background.
//
// Row r of micro-batch m of a step is global sample s + m * micro_batch_size + r, s the samples of
// the steps before it, whatever the rank: ranks differ only in which m they ask for.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/batch_sizes.h"
#include "data/corpus.h"
#include "data/micro_batch.h"
#include "data/sampler.h"

namespace orthant {

struct LoaderSource {
  std::shared_ptr<Corpus> corpus;  // may be shared with other loaders
  double weight = 1.0;
  std::string name = {};  // for people; empty: the corpus's path
};

// How a source is used.
struct SourceUse {
  std::string name;
  double weight = 1.0, share = 1.0;  // as it was given; of all samples
  int64_t windows = 0;
  double epochs = 0;
};

struct LoaderOptions {
  int64_t sequence_length = 0;
  int64_t micro_batch_size = 0;
  BatchSizes sizes;  // multiples of micro_batch_size * num_ranks
  uint64_t seed = 0;
  // Rank r of n asks for the r-th of n equal, contiguous parts of every step, in order; that is
  // what is read ahead.  Other calls are answered too, only slower.
  int64_t rank = 0;
  int64_t num_ranks = 1;
  int64_t prefetch = 2;  // micro-batches held ready; 0: no background thread
};

class Loader {
 public:
  // Error(kConfig) for sizes that do not fit together or sources with different tokenizers;
  // Error(kData) for a corpus shorter than one window.
  Loader(std::vector<LoaderSource> sources, const LoaderOptions& options);
  ~Loader();  // stops the background thread
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // `step` from 0; `micro_batch` in [0, size of the step / micro_batch_size).  An error of the
  // background thread is thrown here.  One thread at a time.
  MicroBatch micro_batch(int64_t step, int64_t micro_batch);
  // Those of a step that rank `rank` of `num_ranks` has: the rank-th of equal, contiguous parts.
  std::vector<MicroBatch> step_share(int64_t step, int64_t rank, int64_t num_ranks);
  const Sampler& sampler() const;
  // Windows in all sources together: samples of one pass over the data when weights follow sizes.
  int64_t num_windows() const;
  // By source, once so many samples are taken.
  std::vector<SourceUse> uses_at(int64_t samples) const;
  // Seconds that micro_batch() spent waiting or reading since the last call of this function.
  double take_stall_seconds();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace orthant
