// SPDX-License-Identifier: Apache-2.0
// Groups of ranks that are threads: the cases of group_conformance.cpp, and what needs no tensor of
// any kind of device.
#include "parallel/comm/group.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "base/philox.h"
#include "parallel/comm/threads/run_ranks.h"
#include "tests/parallel/group_world.h"

namespace orthant {

void group_world::run(int size, const std::function<void(const Group&)>& body) {
  run_ranks(size, body);
}
Device group_world::device() { return {}; }

namespace {

TEST(TreeSum, AddsPairsThenPairsOfPairs) {
  const PhiloxKey key = make_key(1, RandomPurpose::kTest, "group");
  std::vector<Tensor> parts;
  std::vector<float> p;
  for (uint64_t r = 0; r < 7; ++r) {
    const double value = philox_normal(key, r, 0);
    parts.push_back(Tensor::from({1}, {{value}}, DType::kF32));
    p.push_back(static_cast<float>(value));
  }
  tree_sum(parts, parts[0]);
  const float want = ((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + p[6]);
  EXPECT_EQ(std::bit_cast<uint32_t>(*parts[0].as<float>()), std::bit_cast<uint32_t>(want));
}

TEST(GroupSplit, OrdersByKeyAndLeavesOutNegativeColours) {
  run_ranks(5, [](const Group& world) {
    const int rank = world.rank();
    const Group part = world.split(rank == 4 ? -1 : rank % 2, -rank, "part");
    if (rank == 4) {
      EXPECT_ANY_THROW(part.size());
      return;
    }
    EXPECT_EQ(part.world_ranks(), rank % 2 ? (std::vector<int>{3, 1}) : (std::vector<int>{2, 0}));
    EXPECT_EQ(part.rank(), rank < 2 ? 1 : 0);
    EXPECT_EQ(part.sum(rank), rank % 2 ? 4.0 : 2.0);
    const Group alone = part.split(part.rank(), 0, "alone");
    EXPECT_EQ(alone.size(), 1);
    EXPECT_EQ(alone.world_ranks(), std::vector<int>{rank});
    EXPECT_EQ(alone.sum(rank), rank);
  });
}

TEST(GroupSelf, DoesTheLocalCopy) {
  const Group self = Group::self();
  EXPECT_EQ(self.size(), 1);
  const Tensor from = Tensor::from({3, 1}, {{1.0, 2.0, 3.0}}, DType::kF32);
  const Tensor to = Tensor::like(from);
  const int64_t rows[] = {3};
  self.all_to_all(from, rows, to, rows).wait();
  EXPECT_EQ(from.to_doubles(), to.to_doubles());
  EXPECT_EQ(self.split(0, 0, "again").sum(2.5), 2.5);
  EXPECT_EQ(self.gather_text("a"), std::vector<std::string>{"a"});
  self.barrier();
  self.progress();
}

}  // namespace
}  // namespace orthant
