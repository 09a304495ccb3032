// SPDX-License-Identifier: Apache-2.0
#include "data/sampler.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "tests/data/files.h"

namespace orthant {
namespace {

std::vector<int64_t> order(PhiloxKey key, uint64_t epoch, int64_t n) {
  std::vector<int64_t> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)] = permute(key, epoch, i, n);
  return out;
}

TEST(Permute, IsAPermutationOfEverySizeAndEpoch) {
  const PhiloxKey key = make_key(7, RandomPurpose::kTest, "permute");
  for (const int64_t n : {1, 2, 3, 4, 5, 7, 16, 17, 63, 64, 65, 255, 1000, 1024, 4097, 65537})
    for (const uint64_t epoch : {0u, 1u, 2u}) {
      std::vector<int64_t> got = order(key, epoch, n), want(got.size());
      std::sort(got.begin(), got.end());
      std::iota(want.begin(), want.end(), 0);
      EXPECT_EQ(got, want) << "n " << n << ", epoch " << epoch;
    }
}

TEST(Permute, DependsOnKeyAndEpoch) {
  const PhiloxKey a = make_key(1, RandomPurpose::kTest, "x"),
                  b = make_key(2, RandomPurpose::kTest, "x");
  EXPECT_EQ(order(a, 0, 1000), order(a, 0, 1000));
  EXPECT_NE(order(a, 0, 1000), order(b, 0, 1000));
  EXPECT_NE(order(a, 0, 1000), order(a, 1, 1000));
}

TEST(Permute, WorksOnHugeDomains) {
  const PhiloxKey key = make_key(1, RandomPurpose::kTest, "huge");
  const int64_t n = (int64_t{1} << 52) + 12345;
  std::set<int64_t> seen;
  for (int64_t i = 0; i < 1000; ++i) {
    const int64_t x = permute(key, 3, n - 1 - i, n);
    EXPECT_TRUE(x >= 0 && x < n);
    seen.insert(x);
  }
  EXPECT_EQ(seen.size(), 1000u);
}

// Every place gets every value about equally often: chi-square over 4,000 epochs of 7 elements.
TEST(Permute, IsUniformOnASmallDomain) {
  const PhiloxKey key = make_key(5, RandomPurpose::kTest, "uniform");
  constexpr int64_t kSize = 7, kEpochs = 4000;
  for (int64_t place = 0; place < kSize; ++place) {
    std::vector<double> counts(kSize);
    for (uint64_t epoch = 0; epoch < kEpochs; ++epoch)
      counts[static_cast<size_t>(permute(key, epoch, place, kSize))] += 1;
    double chi_square = 0;
    const double want = static_cast<double>(kEpochs) / kSize;
    for (const double count : counts) chi_square += (count - want) * (count - want) / want;
    EXPECT_LT(chi_square, 27.9) << "place " << place;  // 6 degrees of freedom, p = 1e-4
  }
}

TEST(NumWindows, NeedsTheLabelOfTheLastInput) {
  EXPECT_EQ(num_windows(0, 4), 0);
  EXPECT_EQ(num_windows(4, 4), 0);
  EXPECT_EQ(num_windows(5, 4), 1);
  EXPECT_EQ(num_windows(8, 4), 1);
  EXPECT_EQ(num_windows(9, 4), 2);
}

TEST(Sampler, OneSourceVisitsEachWindowOncePerEpoch) {
  const Sampler sampler(11, {{.num_windows = 37}});
  std::vector<std::vector<int64_t>> epochs;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    std::vector<int64_t> windows;
    for (int64_t i = 0; i < 37; ++i) {
      const SampleOrigin origin = sampler.origin(epoch * 37 + i);
      EXPECT_EQ(origin.epoch, epoch);
      windows.push_back(origin.window);
    }
    epochs.push_back(windows);
    std::sort(windows.begin(), windows.end());
    for (int64_t i = 0; i < 37; ++i) EXPECT_EQ(windows[static_cast<size_t>(i)], i);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
}

TEST(Sampler, SharesAreExactInEveryBlock) {
  const Sampler sampler(3, {{100, 0.7}, {2000, 0.2}, {31, 0.1}});
  EXPECT_EQ(sampler.share(0), 717);  // 716.8, 204.8, 102.4: the two largest remainders round up
  EXPECT_EQ(sampler.share(1), 205);
  EXPECT_EQ(sampler.share(2), 102);
  for (int64_t block = 0; block < 5; ++block) {
    std::map<int, int64_t> counts;
    for (int64_t i = 0; i < Sampler::kBlock; ++i)
      ++counts[sampler.origin(block * Sampler::kBlock + i).source];
    for (int s = 0; s < 3; ++s) EXPECT_EQ(counts[s], sampler.share(s)) << "block " << block;
  }
}

TEST(Sampler, EverySourceCountsItsOwnEpochs) {
  const Sampler sampler(3, {{100, 0.7}, {2000, 0.2}, {31, 0.1}});
  std::map<int, std::map<int64_t, std::multiset<int64_t>>> seen;  // source, epoch: windows
  for (int64_t i = 0; i < 6 * Sampler::kBlock; ++i) {
    const SampleOrigin origin = sampler.origin(i);
    seen[origin.source][origin.epoch].insert(origin.window);
  }
  for (const auto& [source, size] : std::map<int, size_t>{{0, 100}, {2, 31}})
    for (int64_t epoch = 0; epoch + 1 < static_cast<int64_t>(seen[source].size()); ++epoch) {
      const auto& windows = seen[source][epoch];
      EXPECT_EQ(windows.size(), size);
      EXPECT_EQ(std::set<int64_t>(windows.begin(), windows.end()).size(), size);
    }
  EXPECT_EQ(seen[1].size(), 1u);  // 6 * 205 of 2,000 windows
  EXPECT_EQ(std::set<int64_t>(seen[1][0].begin(), seen[1][0].end()).size(), 6u * 205u);
}

TEST(Sampler, TellsHowManyPassesAreDone) {
  const Sampler one(3, {{200, 1}});
  EXPECT_EQ(one.epochs_at(0), 0.0);
  EXPECT_EQ(one.epochs_at(300), 1.5);
  EXPECT_EQ(one.origin(299).epoch, 1);
  // The small source is the one that repeats: 102 of 1,024 samples, 31 windows.
  const Sampler mixture(3, {{100, 0.1}, {2000, 0.8}, {31, 0.1}});
  EXPECT_DOUBLE_EQ(mixture.epochs_at(10 * Sampler::kBlock),
                   10.0 * static_cast<double>(mixture.share(2)) / 31);
  EXPECT_DOUBLE_EQ(mixture.epochs_at(10 * Sampler::kBlock, 0),
                   10.0 * static_cast<double>(mixture.share(0)) / 100);
  int64_t epoch = 0;
  for (int64_t i = 0; i < 10 * Sampler::kBlock; ++i)
    epoch = std::max(epoch, mixture.origin(i).epoch);
  EXPECT_EQ(epoch, static_cast<int64_t>(mixture.epochs_at(10 * Sampler::kBlock)));
}

TEST(Sampler, MixesSourcesInsideABlock) {
  const Sampler sampler(3, {{1000, 1}, {1000, 1}});
  int64_t changes = 0;
  for (int64_t i = 1; i < Sampler::kBlock; ++i)
    changes += sampler.origin(i).source != sampler.origin(i - 1).source;
  EXPECT_GT(changes, 400);  // about 512 when shuffled, 1 when not
  EXPECT_LT(changes, 620);
}

TEST(Sampler, SeedChangesTheOrder) {
  const Sampler a(1, {{1000, 1}}), b(2, {{1000, 1}});
  int64_t equal = 0;
  for (int64_t i = 0; i < 1000; ++i) equal += a.origin(i) == b.origin(i);
  EXPECT_LT(equal, 10);
}

TEST(Sampler, RefusesSourcesThatCannotBeRead) {
  expect_error(ErrorKind::kData, {"source 1", "shorter"}, [] { Sampler(1, {{5, 1}, {0, 1}}); });
  expect_error(ErrorKind::kConfig, {"source 0", "-1"}, [] { Sampler(1, {{5, -1}, {5, 1}}); });
  expect_error(ErrorKind::kConfig, {"source 1", "1e-04"}, [] { Sampler(1, {{5, 1}, {5, 1e-4}}); });
  expect_error(ErrorKind::kConfig, {"data.train: b.h5: weight 1e-04", "leave it out"}, [] {
    Sampler(1, {{5, 1, "a.h5"}, {5, 1e-4, "b.h5"}});
  });
}

}  // namespace
}  // namespace orthant
