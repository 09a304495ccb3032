// SPDX-License-Identifier: Apache-2.0
// Which window of which corpus the n-th sample of a run is: a pure function of (seed, n).
//
// There is no state, so the data order is the same for every number of ranks, and a run's position
// is one integer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/philox.h"

namespace orthant {

// A keyed permutation of [0, n) in O(1) memory: a balanced Feistel network on the next power of
// four, walked until it lands inside (Black and Rogaway, "Ciphers with arbitrary finite domains",
// CT-RSA 2002).  The round function is Philox; `epoch` selects the permutation.
int64_t permute(PhiloxKey key, uint64_t epoch, int64_t index, int64_t n);

// Windows of `sequence_length` inputs (and the label of the last one) that a corpus holds:
// window w is tokens [w * sequence_length, (w + 1) * sequence_length].  The rest is never sampled.
int64_t num_windows(int64_t num_tokens, int64_t sequence_length);
// The same, at least one: Error(kData) that begins with `where`, such as "c.h5: the train split".
int64_t some_windows(const std::string& where, int64_t num_tokens, int64_t sequence_length);

// Where a sample comes from.
struct SampleOrigin {
  int source = 0;
  int64_t epoch = 0;   // of this source: how often all its windows were used before
  int64_t window = 0;  // in [0, num_windows of the source)
  bool operator==(const SampleOrigin&) const = default;
};

// Mixes several sources.  In every 1,024 consecutive samples [1024 b, 1024 b + 1024) source s has
// exactly share(s) samples (largest remainder of its weight), at places shuffled anew per block.
// Each source counts its own epochs, and every epoch visits each window once, in its own order.
// With one source, sample n is window permute(n mod num_windows) of epoch n / num_windows.
class Sampler {
 public:
  static constexpr int64_t kBlock = 1024;
  struct Source {
    int64_t num_windows = 0;
    double weight = 1.0;    // any positive number; only ratios count
    std::string name = {};  // for errors; empty: its place
  };
  // Error(kData) when a source has no window; Error(kConfig) when a weight is not positive and
  // finite or is so small that its share of a block is 0.
  Sampler(uint64_t seed, std::vector<Source> sources);

  SampleOrigin origin(int64_t sample) const;  // sample >= 0
  int64_t share(int source) const;            // of kBlock
  // How often the first `samples` samples go through the source that they go through most often:
  // 1.5 when a pass and a half are done.  Of several sources to within a block of the mixture.
  double epochs_at(int64_t samples) const;
  double epochs_at(int64_t samples, int source) const;  // through one of them, likewise
  int num_sources() const { return static_cast<int>(sources_.size()); }

 private:
  std::vector<Source> sources_;
  std::vector<int64_t> first_;   // [sources + 1] running sum of shares
  std::vector<PhiloxKey> keys_;  // [sources] order of windows
  PhiloxKey mixture_key_;        // order inside a block
};

}  // namespace orthant
