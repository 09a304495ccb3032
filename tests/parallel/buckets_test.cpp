// SPDX-License-Identifier: Apache-2.0
#include "parallel/buckets.h"

#include <gtest/gtest.h>

#include <random>

#include "base/text.h"
#include "parallel/comm/threads/run_ranks.h"

namespace orthant {
namespace {

std::vector<int64_t> bounds(std::vector<ElementRange> tensors, int ranks) {
  return slice_bounds(tensors, ranks);
}

TEST(SliceBoundsTest, CutsAtTensorStartsAndWholeBlocks) {
  using Bounds = std::vector<int64_t>;
  EXPECT_EQ(bounds({{0, 100}}, 1), (Bounds{0, 100}));
  EXPECT_EQ(bounds({}, 3), (Bounds{0, 0, 0, 0}));
  EXPECT_EQ(bounds({{0, 8 * kNormBlock}}, 2), (Bounds{0, 4 * kNormBlock, 8 * kNormBlock}));
  EXPECT_EQ(bounds({{0, 5 * kNormBlock}}, 2), (Bounds{0, 2 * kNormBlock, 5 * kNormBlock}));
  // Blocks count from the start of their tensor.
  EXPECT_EQ(bounds({{0, 100}, {128, 128 + 3 * kNormBlock}}, 3),
            (Bounds{0, 128 + kNormBlock, 128 + 2 * kNormBlock, 128 + 3 * kNormBlock}));
  // Small tensors stay whole; more ranks than pieces leave empty slices.
  EXPECT_EQ(bounds({{0, 10}, {10, 20}, {64, 74}}, 2), (Bounds{0, 10, 74}));
  EXPECT_EQ(bounds({{0, 100}}, 4), (Bounds{0, 0, 0, 100, 100}));
}

TEST(SliceBoundsTest, RandomTensorsAreCutEvenlyAndInAllowedPlaces) {
  std::mt19937_64 random(5);
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<ElementRange> tensors;
    int64_t end = 0;
    const auto count = 1 + random() % 40;
    for (uint64_t i = 0; i < count; ++i) {
      const int64_t size = 1 + static_cast<int64_t>(random() % (i % 3 == 0 ? 60000 : 700));
      const int64_t begin = i == 0 ? 0 : end + static_cast<int64_t>(random() % 64);
      tensors.push_back({begin, begin + size});
      end = begin + size;
    }
    const int ranks = 1 + static_cast<int>(random() % 16);
    const std::vector<int64_t> cuts = slice_bounds(tensors, ranks);
    ASSERT_EQ(cuts.size(), static_cast<size_t>(ranks) + 1);
    EXPECT_EQ(cuts.front(), 0);
    EXPECT_EQ(cuts.back(), end);
    for (int r = 1; r < ranks; ++r) {
      const int64_t cut = cuts[static_cast<size_t>(r)];
      EXPECT_LE(cuts[static_cast<size_t>(r) - 1], cut);
      EXPECT_LE(std::abs(cut - end * r / ranks), kNormBlock);
      const bool allowed =
          cut == end || std::any_of(tensors.begin(), tensors.end(), [&](const ElementRange& t) {
            return cut >= t.begin && cut < t.end && (cut - t.begin) % kNormBlock == 0;
          });
      EXPECT_TRUE(allowed) << "cut " << cut;
    }
  }
}

Parameter::Options options(const std::string& name, const Shape& shape, DType dtype,
                           bool expert = false) {
  return {.name = name,
          .shape = shape,
          .dtype = dtype,
          .logical = {whole_tensor(name + ".weight", shape, 0, 0.1)},
          .replicas = expert ? Replicas::kExpert : Replicas::kDense};
}

TEST(BucketsTest, EveryTrainableParameterIsInOneBucketOfItsKind) {
  ParameterStore store;
  Parameter& lookup = store.add(options("embed", {300, 40}, DType::kBF16)).parameter();
  store.add(options("norm", {40}, DType::kBF16));
  store.add(options("router", {4, 40}, DType::kF32));
  store.add(options("experts", {4, 10, 40}, DType::kBF16, true));
  store.add(options("frozen", {40, 40}, DType::kBF16));
  store.add(options("large", {500, 40}, DType::kBF16));
  store.add(options("last", {40}, DType::kBF16));
  store.tie("head", lookup);
  store.freeze([](const std::string& name) { return name == "frozen.weight"; });
  run_ranks(6, [&](const Group& world) {
    const Group expert = world.split(world.rank() % 2, 0, "edp");
    const std::vector<Bucket> buckets =
        plan_buckets(store, {.dense = world, .expert = expert, .rows = world}, 4 * 10000);
    std::vector<std::string> names;
    for (const Bucket& bucket : buckets) {
      std::string text;
      int64_t end = 0;
      for (const Bucket::Member& member : bucket.members) {
        text += member.use->name() + " ";
        EXPECT_GE(member.offset, end);
        EXPECT_EQ(member.offset % 64, 0);
        EXPECT_EQ(member.use, store.uses()[member.index].get());
        EXPECT_EQ(member.use->dtype(), bucket.dtype);
        end = member.offset + member.use->parameter().numel();
      }
      EXPECT_EQ(bucket.numel, end);
      const bool is_expert =
          bucket.members.front().use->parameter().replicas() == Replicas::kExpert;
      EXPECT_EQ(bucket.group.size(), is_expert ? 3 : 6);
      EXPECT_EQ(bucket.bounds.size(), is_expert ? 4U : 7U);
      EXPECT_EQ(bucket.bounds.back(), bucket.numel);
      names.push_back(text);
    }
    // As backward completes them.
    EXPECT_EQ(names, (std::vector<std::string>{"head ", "last large ", "experts ", "router ",
                                               "norm ", "embed "}));
    EXPECT_EQ(buckets.front().bounds, buckets.back().bounds);  // a tied pair is cut alike
  });
}

// Where a dimension is smaller than the number of ranks that cut it, some have nothing of a tensor:
// it begins where the next one does, and slices are as if it were not there.
TEST(BucketsTest, EmptyTensorsChangeNoSlices) {
  ParameterStore store, with_empty;
  for (int i = 0; i < 40; ++i) {
    store.add(options(concat("w", i), {160 * (1 + i % 3), 64}, DType::kF32));
    with_empty.add(options(concat("w", i), {160 * (1 + i % 3), 64}, DType::kF32));
    with_empty.add(options(concat("down", i), {64, 0}, DType::kF32));
    with_empty.add(options(concat("up", i), {0, 64}, DType::kF32));
  }
  run_ranks(3, [&](const Group& world) {
    const Bucket want =
        plan_buckets(store, {.dense = world, .expert = world, .rows = world}, int64_t{1} << 30)
            .front();
    const Bucket got =
        plan_buckets(with_empty, {.dense = world, .expert = world, .rows = world}, int64_t{1} << 30)
            .front();
    EXPECT_EQ(got.members.size(), 120U);
    EXPECT_EQ(got.bounds.back(), got.numel);
    EXPECT_EQ(got.bounds, want.bounds);
  });
}

// Two ranks cut a dimension of 1: one has it, the other nothing.  What they both hold must be
// reduced at the same place among their buckets, or each waits for the other in another one.
TEST(BucketsTest, UnevenSharesAreCutIntoBucketsAlike) {
  run_ranks(2, [&](const Group& world) {
    const Group dense = world.split(world.rank(), 0, "dp");
    ParameterStore store;
    for (int i = 0; i < 20; ++i) {
      Parameter::Options norm = options(concat("norm", i), {300}, DType::kF32);
      norm.replicas = Replicas::kRows;
      store.add(norm);
      Parameter::Options up = options(concat("up", i), {1, 2000}, DType::kF32);
      up.shape = up.logical[0].shape = {world.rank(), 2000};
      store.add(up);
    }
    std::string text;
    for (const Bucket& bucket :
         plan_buckets(store, {.dense = dense, .expert = dense, .rows = world}, 4 * 2500)) {
      for (const Bucket::Member& member : bucket.members) text += member.use->name() + " ";
      text += "| ";
    }
    const std::vector<std::string> all = world.gather_text(text);
    EXPECT_EQ(all[0], all[1]);
    EXPECT_NE(text.find("| norm"), std::string::npos);
  });
}

}  // namespace
}  // namespace orthant
