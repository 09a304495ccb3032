// SPDX-License-Identifier: Apache-2.0
// The grid of a kernel: covers all items, within the limits of a launch.
#include <gtest/gtest.h>

#include <limits>

#include "tensor/cuda/kernels/launch.h"

namespace orthant::testing {
namespace {

using namespace cuda::kernels;  // NOLINT

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

TEST(CudaLaunch, NothingToDoNeedsNoBlock) {
  EXPECT_EQ(element_launch(0).blocks, 0u);
  EXPECT_EQ(element_launch(-1).blocks, 0u);
  EXPECT_EQ(row_launch(0, 16).blocks, 0u);
}

TEST(CudaLaunch, SmallGridsHaveAThreadForEveryElement) {
  for (const int64_t n :
       {int64_t{1}, int64_t{255}, int64_t{256}, int64_t{257}, kBlockThreads * kMaxBlocks}) {
    const Launch launch = element_launch(n);
    EXPECT_GE(int64_t{launch.blocks} * launch.threads, n);
    EXPECT_LT((int64_t{launch.blocks} - 1) * launch.threads, n) << "an idle block";
  }
}

TEST(CudaLaunch, HugeGridsStayWithinTheLimit) {
  for (const int64_t n : {kBlockThreads * kMaxBlocks + 1, int64_t{1} << 40, kHuge}) {
    EXPECT_EQ(element_launch(n).blocks, kMaxBlocks);
    EXPECT_EQ(row_launch(n, 0).blocks, kMaxBlocks);
  }
  // The grid stride past the last element does not overflow for any n in memory.
  EXPECT_LT(kMaxBlocks * kBlockThreads, kHuge - (int64_t{1} << 50));
}

TEST(CudaLaunch, RowsShareABlockAsFarAsSharedMemoryAllows) {
  for (int64_t bytes = 0; bytes <= kMaxShared; bytes += 4) {
    const Launch launch = row_launch(1000, bytes);
    const int64_t warps = launch.threads / kWarp;
    ASSERT_GE(warps, 1) << bytes;
    ASSERT_LE(warps, kBlockThreads / kWarp);
    ASSERT_EQ(launch.threads % kWarp, 0);
    ASSERT_LE(launch.shared_bytes, kMaxShared);
    ASSERT_EQ(launch.shared_bytes, warps * warp_scratch_bytes(bytes));
    ASSERT_GE(int64_t{launch.blocks} * warps, 1000);
    if (warps < kBlockThreads / kWarp) {
      ASSERT_GT((warps + 1) * warp_scratch_bytes(bytes), kMaxShared) << "a warp more would fit";
    }
  }
  EXPECT_FALSE(scratch_fits(kMaxShared + 1));
  EXPECT_EQ(row_launch(1000, kMaxShared + 1).blocks, 0u);
}

TEST(CudaLaunch, ScratchOfEveryWarpIsAligned) {
  EXPECT_EQ(warp_scratch_bytes(0), 0);
  EXPECT_EQ(warp_scratch_bytes(1), 16);
  EXPECT_EQ(warp_scratch_bytes(16), 16);
  EXPECT_EQ(warp_scratch_bytes(17), 32);
}

}  // namespace
}  // namespace orthant::testing
