// SPDX-License-Identifier: Apache-2.0
#include "data/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace orthant {
namespace {

// Four rounds suffice for a pseudorandom permutation of large domains (Luby and Rackoff 1988);
// small ones want more, and the cost is nothing beside reading a window.
constexpr uint64_t kRounds = 8;

// Shares of Sampler::kBlock by the largest remainder; ties go to the earlier source.
std::vector<int64_t> exact_shares(const std::vector<Sampler::Source>& sources) {
  double total = 0;
  for (const Sampler::Source& source : sources) total += source.weight;
  std::vector<int64_t> shares(sources.size());
  std::vector<double> remainders(sources.size());
  int64_t given = 0;
  for (size_t s = 0; s < sources.size(); ++s) {
    const double exact = sources[s].weight / total * static_cast<double>(Sampler::kBlock);
    shares[s] = static_cast<int64_t>(std::floor(exact));
    remainders[s] = exact - std::floor(exact);
    given += shares[s];
  }
  std::vector<size_t> order(sources.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return remainders[a] > remainders[b]; });
  for (size_t i = 0; given < Sampler::kBlock; i = (i + 1) % order.size(), ++given)
    ++shares[order[i]];
  return shares;
}

std::string name_of(const std::vector<Sampler::Source>& sources, size_t s) {
  return sources[s].name.empty() ? concat("source ", s) : sources[s].name;
}

}  // namespace

int64_t permute(PhiloxKey key, uint64_t epoch, int64_t index, int64_t n) {
  ORTHANT_CHECK(index >= 0 && index < n, kInternal, "permute: index ", index, " outside [0, ", n,
                ")");
  const int half = (static_cast<int>(std::bit_width(static_cast<uint64_t>(n - 1))) + 1) / 2;
  if (half == 0) return 0;  // n == 1
  const uint64_t mask = (uint64_t{1} << half) - 1;
  uint64_t x = static_cast<uint64_t>(index);
  do {  // the network permutes [0, 4^half), fewer than 4 n values: about 4 walks at worst
    uint64_t left = x >> half, right = x & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const Philox4 bits = philox(key, epoch, round << 32 | right);
      const uint64_t mixed = left ^ (bits.x[0] & mask);
      left = right;
      right = mixed;
    }
    x = left << half | right;
  } while (x >= static_cast<uint64_t>(n));
  return static_cast<int64_t>(x);
}

int64_t num_windows(int64_t num_tokens, int64_t sequence_length) {
  return num_tokens <= 1 ? 0 : (num_tokens - 1) / sequence_length;
}

int64_t some_windows(const std::string& where, int64_t num_tokens, int64_t sequence_length) {
  const int64_t windows = num_windows(num_tokens, sequence_length);
  ORTHANT_CHECK(windows > 0, kData, where, " has ", num_tokens, " tokens, want at least ",
                sequence_length + 1, " (batch.sequence_length + 1)");
  return windows;
}

Sampler::Sampler(uint64_t seed, std::vector<Source> sources) : sources_(std::move(sources)) {
  ORTHANT_CHECK(!sources_.empty(), kConfig, "data.train: want at least one source, got none");
  for (size_t s = 0; s < sources_.size(); ++s) {
    const std::string name = name_of(sources_, s);
    ORTHANT_CHECK(sources_[s].num_windows > 0, kData, "data.train: ", name,
                  " is shorter than one window of batch.sequence_length + 1 tokens");
    ORTHANT_CHECK(std::isfinite(sources_[s].weight) && sources_[s].weight > 0, kConfig,
                  "data.train: ", name, ": want a positive weight, got ", sources_[s].weight);
    keys_.push_back(make_key(seed, RandomPurpose::kDataOrder, concat("windows of source ", s)));
  }
  mixture_key_ = make_key(seed, RandomPurpose::kDataOrder, "mixture");
  first_.push_back(0);
  const std::vector<int64_t> shares = exact_shares(sources_);
  for (size_t s = 0; s < sources_.size(); ++s) {
    ORTHANT_CHECK(shares[s] > 0, kConfig, "data.train: ", name_of(sources_, s), ": weight ",
                  sources_[s].weight, " is less than one sample in ", kBlock,
                  " of the mixture: it would never be read; give it more, or leave it out");
    first_.push_back(first_.back() + shares[s]);
  }
}

int64_t Sampler::share(int source) const {
  const size_t s = static_cast<size_t>(source);
  return first_[s + 1] - first_[s];
}

double Sampler::epochs_at(int64_t samples) const {
  double most = 0;
  for (int s = 0; s < num_sources(); ++s) most = std::max(most, epochs_at(samples, s));
  return most;
}

double Sampler::epochs_at(int64_t samples, int source) const {
  const double draws = static_cast<double>(samples) * static_cast<double>(share(source)) / kBlock;
  return draws / static_cast<double>(sources_[static_cast<size_t>(source)].num_windows);
}

SampleOrigin Sampler::origin(int64_t sample) const {
  ORTHANT_CHECK(sample >= 0, kInternal, "sampler: want a sample index >= 0, got ", sample);
  size_t s = 0;
  int64_t draw = sample;  // the how-manieth sample of source s this is
  if (sources_.size() > 1) {
    const int64_t block = sample / kBlock;
    const int64_t place =
        permute(mixture_key_, static_cast<uint64_t>(block), sample % kBlock, kBlock);
    while (place >= first_[s + 1]) ++s;
    draw = block * (first_[s + 1] - first_[s]) + place - first_[s];
  }
  const int64_t n = sources_[s].num_windows;
  const int64_t epoch = draw / n;
  return {static_cast<int>(s), epoch, permute(keys_[s], static_cast<uint64_t>(epoch), draw % n, n)};
}

}  // namespace orthant
