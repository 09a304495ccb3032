// SPDX-License-Identifier: Apache-2.0
#include "trainer/device.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/context.h"
#include "base/error.h"
#include "parallel/comm/threads/run_ranks.h"
#include "tensor/plugin.h"

namespace orthant {
namespace {

TEST(DeviceOfRank, IsTheCpuWhenAskedFor) { EXPECT_TRUE(device_of("cpu").is_cpu()); }

TEST(DeviceOfRank, KnowsNoOtherNames) { EXPECT_THROW(device_of("auto"), Error); }

TEST(DeviceOfRank, SaysWhyThereIsNone) {
  std::string why_not;
  if (try_cuda_backend(why_not)) GTEST_SKIP() << "there is one";
  try {
    device_of("cuda");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_NE(std::string(error.what()).find(why_not), std::string::npos) << error.what();
  }
}

TEST(DeviceOfRank, SharesDevicesInTurn) {
  EXPECT_EQ(nth_cuda_device(0, 1), (Device{DeviceType::kCuda, 0}));
  EXPECT_EQ(nth_cuda_device(5, 1), (Device{DeviceType::kCuda, 0}));
  EXPECT_EQ(nth_cuda_device(5, 4), (Device{DeviceType::kCuda, 1}));
}

TEST(DeviceOfRank, IsAgreedBetweenRanks) {
  run_ranks(3, [](const Group& world) {
    EXPECT_EQ(why_not_everywhere(world, ""), "");
    EXPECT_EQ(
        why_not_everywhere(world, world.rank() == 0 ? "" : concat("no driver ", world.rank())),
        "rank 1: no driver 1");
  });
  EXPECT_EQ(why_not_everywhere(Group::self(), "no driver"), "no driver");
}

TEST(DeviceOfRank, TakesTheLaunchersLocalRank) {
  RankContext rank{.rank = 3};
  const ContextScope scope(rank);
  EXPECT_EQ(local_rank(), 3);
  setenv("OMPI_COMM_WORLD_LOCAL_RANK", "1", 1);
  EXPECT_EQ(local_rank(), 1);
  unsetenv("OMPI_COMM_WORLD_LOCAL_RANK");
}

}  // namespace
}  // namespace orthant
