// SPDX-License-Identifier: Apache-2.0
#include "data/batch_sizes.h"

#include <gtest/gtest.h>

#include <vector>

namespace orthant {
namespace {

TEST(BatchSizes, AreConstantWithoutARamp) {
  const BatchSizes sizes{.global = 24};
  EXPECT_EQ(sizes.size_of_step(1), 24);
  EXPECT_EQ(sizes.samples_after(0), 0);
  EXPECT_EQ(sizes.samples_after(1000), 24000);
  EXPECT_EQ(sizes.ramp_steps(), 0);
}

// By hand: 12 samples in three parts of 4; sizes 2, 4, 6, then 8.
TEST(BatchSizes, GrowInEqualParts) {
  const BatchSizes sizes{.global = 8, .start = 2, .increment = 2, .ramp_samples = 12};
  std::vector<int64_t> got;
  for (int64_t step = 1; step <= 7; ++step) got.push_back(sizes.size_of_step(step));
  EXPECT_EQ(got, (std::vector<int64_t>{2, 2, 4, 6, 8, 8, 8}));
  EXPECT_EQ(sizes.samples_after(4), 14);
  EXPECT_EQ(sizes.ramp_steps(), 4);
}

// Step by step as the definition says, for many ramps, sizes that are jumped over included.
TEST(BatchSizes, AgreeWithTheStepByStepDefinition) {
  for (const int64_t start : {1, 4, 6})
    for (const int64_t increment : {1, 3, 5})
      for (const int64_t parts : {1, 2, 7})
        for (const int64_t ramp : {1, 5, 40, 333}) {
          const BatchSizes sizes{start + parts * increment, start, increment, ramp};
          int64_t samples = 0, full = 0;
          for (int64_t step = 1; step < 400; ++step) {
            int64_t size = sizes.global;
            for (int64_t part = 1; part <= parts; ++part) {
              // Still inside part `part`: fewer than part / parts of the ramp consumed.
              if (samples * parts < part * ramp) {
                size = start + (part - 1) * increment;
                break;
              }
            }
            ASSERT_EQ(sizes.size_after(samples), size);
            ASSERT_EQ(sizes.size_of_step(step), size) << "step " << step;
            ASSERT_EQ(sizes.samples_after(step - 1), samples);
            full += size < sizes.global;
            samples += size;
          }
          EXPECT_EQ(sizes.ramp_steps(), full);
        }
}

// 2,304 to 9,216 sequences of 4,096 tokens over the first 225B tokens.
TEST(BatchSizes, HoldDeepSeekV2sRamp) {
  const BatchSizes sizes{9216, 2304, 768, 225'000'000'000 / 4096};
  EXPECT_EQ(sizes.size_of_step(1), 2304);
  EXPECT_EQ(sizes.size_of_step(sizes.ramp_steps()), 9216 - 768);
  EXPECT_EQ(sizes.size_of_step(sizes.ramp_steps() + 1), 9216);
  EXPECT_GE(sizes.samples_after(sizes.ramp_steps()), sizes.ramp_samples);
  EXPECT_LT(sizes.samples_after(sizes.ramp_steps()), sizes.ramp_samples + 9216);
}

}  // namespace
}  // namespace orthant
