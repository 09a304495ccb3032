// SPDX-License-Identifier: Apache-2.0
#include "tensor/allocator.h"

#include <gtest/gtest.h>

#include "tensor/device.h"

namespace orthant {
namespace {

constexpr Device kCpu{};

TEST(AllocatorTest, AFreeBlockServesWhatIsALittleSmaller) {
  trim_cache(kCpu);
  constexpr int64_t kLarge = 48 << 20, kMedium = 36 << 20, kSmall = 20 << 20;
  void* const large = allocate(kCpu, kLarge);
  deallocate(kCpu, large, kLarge);
  EXPECT_EQ(cached_bytes(kCpu), kLarge);
  EXPECT_EQ(allocate(kCpu, kMedium), large);
  EXPECT_EQ(cached_bytes(kCpu), 0);
  deallocate(kCpu, large, kMedium);
  EXPECT_EQ(cached_bytes(kCpu), kLarge) << "it keeps its size";

  void* const small = allocate(kCpu, kSmall);
  EXPECT_NE(small, large) << "half of it would lie idle";
  EXPECT_EQ(allocate(kCpu, kLarge), large);
  deallocate(kCpu, small, kSmall);
  deallocate(kCpu, large, kLarge);
  EXPECT_EQ(cached_bytes(kCpu), kLarge + kSmall);
  trim_cache(kCpu);
  EXPECT_EQ(cached_bytes(kCpu), 0);
}

}  // namespace
}  // namespace orthant
