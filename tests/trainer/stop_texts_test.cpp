// SPDX-License-Identifier: Apache-2.0
#include "trainer/stop_texts.h"

#include <gtest/gtest.h>

namespace orthant {
namespace {

// What is given out, piece by piece, and whether it stopped.
std::string given(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopTexts stop(stops);
  std::string text;
  for (const std::string& piece : pieces) text += stop.add(piece) + "|";
  return text + stop.finish() + (stop.stopped() ? "." : "");
}

TEST(StopTexts, EndBeforeTheFirstOfThem) {
  EXPECT_EQ(given({}, {"ab", "c"}), "ab|c|");
  EXPECT_EQ(given({"cd"}, {"abcdef"}), "ab|.");
  EXPECT_EQ(given({"cd"}, {"abc", "d", "e"}), "ab|||.");
  EXPECT_EQ(given({"cd"}, {"abc", "e"}), "ab|ce|");
  EXPECT_EQ(given({"cd"}, {"abc"}), "ab|c");
  EXPECT_EQ(given({"x", "cd", "bcd"}, {"abcd"}), "a|.");  // the first in the text
  EXPECT_EQ(given({"bb", "abc"}, {"ab", "c"}), "||.");
  EXPECT_EQ(given({"aab"}, {"a", "a", "a", "b"}), "||a||.");  // begins again inside itself
  EXPECT_EQ(given({"abab"}, {"xabaaba", "b"}), "xaba||.");
  EXPECT_EQ(given({"\n\n"}, {"one\n", "two\n", "\nthree"}), "one|\ntwo||.");
}

}  // namespace
}  // namespace orthant
