// SPDX-License-Identifier: Apache-2.0
#include "parallel/reshard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "base/error.h"

namespace orthant {
namespace {

using Elements = std::vector<int64_t>;

// The global indices of a slice's elements, element by element: the plain definition.
Elements elements_of(const Shape& global, const TensorSlice& slice) {
  Elements all;
  const int rank = global.rank();
  for (int64_t i = 0; i < slice.shape.numel(); ++i) {
    int64_t rest = i, index = 0, stride = 1;
    for (int d = rank - 1; d >= 0; --d) {
      index += (slice.begin[static_cast<size_t>(d)] + rest % slice.shape[d]) * stride;
      rest /= slice.shape[d];
      stride *= global[d];
    }
    all.push_back(index);
  }
  return {all.begin() + slice.flat_begin, all.begin() + slice.flat_begin + slice.numel()};
}

class RandomSlicing {
 public:
  explicit RandomSlicing(uint32_t seed) : random_(seed) {}

  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }
  Shape shape() {
    Shape result;
    for (int64_t d = below(5); d-- > 0;) result.push_back(1 + below(6));
    return result;
  }
  // A slicing with exactly-once coverage: boxes halved at random, some cut into flat ranges.
  std::vector<TensorSlice> slices(const Shape& global) {
    std::vector<TensorSlice> result;
    split(whole_slice(global), 4, result);
    std::shuffle(result.begin(), result.end(), random_);
    return result;
  }

 private:
  void split(TensorSlice box, int depth, std::vector<TensorSlice>& result) {
    const int rank = box.shape.rank();
    const int dim = rank == 0 ? 0 : static_cast<int>(below(rank));
    if (depth == 0 || rank == 0 || box.shape[dim] < 2 || below(4) == 0) {
      flatten(box, result);
      return;
    }
    const int64_t at = 1 + below(box.shape[dim] - 1);
    TensorSlice low = box, high = box;
    low.shape[dim] = at;
    high.shape[dim] -= at;
    high.begin[static_cast<size_t>(dim)] += at;
    split(low, depth - 1, result);
    split(high, depth - 1, result);
  }
  void flatten(const TensorSlice& box, std::vector<TensorSlice>& result) {
    const int64_t n = box.shape.numel();
    if (below(2) == 0) {
      result.push_back(box);
      return;
    }
    for (int64_t at = 0; at < n;) {
      TensorSlice part = box;
      part.flat_begin = at;
      part.flat_size = 1 + below(n - at);
      at += part.flat_size;
      result.push_back(part);
    }
  }
  std::mt19937 random_;
};

std::vector<Elements> move(const std::vector<TensorSlice>& from, const std::vector<Elements>& data,
                           const std::vector<TensorSlice>& to) {
  std::vector<Elements> result;
  for (const TensorSlice& slice : to) {
    Elements elements(static_cast<size_t>(slice.numel()), -1);
    int64_t filled = 0;
    for (const SliceCopy& copy : plan_copies(from, slice)) {
      const auto begin = data[static_cast<size_t>(copy.from)].begin() + copy.from_offset;
      std::copy(begin, begin + copy.length, elements.begin() + copy.to_offset);
      filled += copy.length;
    }
    EXPECT_EQ(filled, slice.numel());
    result.push_back(elements);
  }
  return result;
}

TEST(Reshard, MovesEveryElementBetweenRandomSlicingsAndBack) {
  for (uint32_t seed = 0; seed < 400; ++seed) {
    RandomSlicing random(seed);
    const Shape global = random.shape();
    const std::vector<TensorSlice> a = random.slices(global), b = random.slices(global);
    ASSERT_EQ(coverage_fault(global, a), "") << global.text() << " seed " << seed;
    std::vector<Elements> in_a, in_b;
    for (const TensorSlice& slice : a) in_a.push_back(elements_of(global, slice));
    for (const TensorSlice& slice : b) in_b.push_back(elements_of(global, slice));
    ASSERT_EQ(move(a, in_a, b), in_b) << global.text() << " seed " << seed;
    ASSERT_EQ(move(b, in_b, a), in_a) << global.text() << " seed " << seed;
  }
}

TEST(Reshard, CoverageAgreesWithCountingEveryElement) {
  int wrong = 0;
  for (uint32_t seed = 0; seed < 400; ++seed) {
    RandomSlicing random(seed);
    const Shape global = random.shape();
    std::vector<TensorSlice> slices = random.slices(global);
    const auto victim = static_cast<size_t>(random.below(static_cast<int64_t>(slices.size())));
    if (seed % 3 == 1) slices.erase(slices.begin() + static_cast<std::ptrdiff_t>(victim));
    if (seed % 3 == 2) {  // one slice moves onto another's elements: the total may stay right
      const size_t other = (victim + 1) % slices.size();
      slices[victim] = slices[other];
    }
    std::vector<int> count(static_cast<size_t>(global.numel()), 0);
    for (const TensorSlice& slice : slices) {
      for (const int64_t i : elements_of(global, slice)) ++count[static_cast<size_t>(i)];
    }
    const bool exact = std::all_of(count.begin(), count.end(), [](int n) { return n == 1; });
    wrong += exact ? 0 : 1;
    EXPECT_EQ(coverage_fault(global, slices).empty(), exact) << "seed " << seed;
  }
  EXPECT_GT(wrong, 200);
}

TEST(Reshard, FindsOverlapWhenTheTotalIsRight) {
  const TensorSlice left{{0, 0}, {4, 2}}, right{{0, 1}, {4, 2}};
  EXPECT_NE(coverage_fault({4, 4}, std::vector{left, right}).find("overlap"), std::string::npos);
  const TensorSlice top{{0, 0}, {2, 4}, 0, 4};  // its first row
  EXPECT_EQ(coverage_fault({4, 4}, std::vector{top}), "the slices hold 4 of 16 elements");
}

TEST(Reshard, CopiesWholeTensorsInOneRun) {
  const TensorSlice whole = whole_slice({64, 32, 8});
  EXPECT_EQ(plan_copies(std::vector{whole}, whole), (std::vector<SliceCopy>{{0, 0, 0, 64 * 256}}));
  const TensorSlice rows{{16, 0, 0}, {16, 32, 8}};
  EXPECT_EQ(plan_copies(std::vector{whole}, rows),
            (std::vector<SliceCopy>{{0, 16 * 256, 0, 16 * 256}}));
}

TEST(Reshard, SkipsWhatFlatRangesDoNotMeet) {
  // A million runs, of which the range meets two: found without walking over the others.
  const TensorSlice columns{{0, 0}, {1 << 20, 1}};
  const TensorSlice range{{0, 0}, {1 << 20, 2}, (1 << 20) - 2, 4};
  const auto copies = plan_copies(std::vector{columns}, range);
  ASSERT_EQ(copies.size(), 2u);
  EXPECT_EQ(copies[0], (SliceCopy{0, (1 << 19) - 1, 0, 1}));
  EXPECT_EQ(copies[1], (SliceCopy{0, 1 << 19, 2, 1}));
}

TEST(Reshard, NamesSlicesThatLieOutside) {
  EXPECT_EQ(slice_fault({4, 4}, {{0, 0}, {4, 4}}), "");
  EXPECT_NE(slice_fault({4, 4}, {{0, 1}, {4, 4}}), "");
  EXPECT_NE(slice_fault({4, 4}, {{-1, 0}, {4, 4}}), "");
  EXPECT_NE(slice_fault({4, 4}, {{0}, {4}}), "");
  EXPECT_NE(slice_fault({4}, {{0}, {4}, 2, 3}), "");
  EXPECT_NE(slice_fault({4}, {{0}, {4}, -1, 3}), "");
  EXPECT_NE(slice_fault({4}, {{0}, {4}, 5, 0}), "");
  EXPECT_EQ(slice_fault({0, 4}, {{0, 0}, {0, 4}}), "");
  EXPECT_EQ(coverage_fault({0, 4}, {}), "");
  EXPECT_EQ(coverage_fault({}, std::vector{whole_slice({})}), "");
  EXPECT_EQ((TensorSlice{{0, 8}, {4, 8}, 0, 12}.text()), "[0:4, 8:16] elements 0:12");
}

}  // namespace
}  // namespace orthant
