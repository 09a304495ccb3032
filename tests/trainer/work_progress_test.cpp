// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/work_progress.h"

#include <gtest/gtest.h>

namespace orthant {
namespace {

std::string shown(const WorkProgressOptions& options, int64_t done, int64_t tokens) {
  ::testing::internal::CaptureStderr();
  WorkProgress(options).at(done, tokens);
  return ::testing::internal::GetCapturedStderr();
}

TEST(WorkProgress, SaysHowFarItIsAndWhenItEnds) {
  const WorkProgressOptions options{
      .command = "embed", .noun = "line", .total = 2000, .seconds_between = 0};
  const std::string line = shown(options, 500, 12345);
  EXPECT_TRUE(line.starts_with("embed: 500 of 2,000 lines (25%), 12,345 tokens, ")) << line;
  EXPECT_NE(line.find(", eta 0:00:00"), std::string::npos) << line;
  EXPECT_EQ(shown({.command = "embed", .noun = "line", .seconds_between = 0}, 5, 0),
            "embed: 5 lines\n");
  EXPECT_EQ(shown({.command = "embed", .noun = "line", .seconds_between = 60}, 5, 0), "");
}

}  // namespace
}  // namespace orthant
