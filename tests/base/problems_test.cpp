// SPDX-License-Identifier: Apache-2.0
#include "base/problems.h"

#include <gtest/gtest.h>

namespace orthant {
namespace {

TEST(Problems, AreThrownTogetherALineEach) {
  Problems problems;
  problems.raise();  // nothing
  problems.want(true, "not this");
  problems.want(2 > 3, "a: want more than ", 3, ", got ", 2);
  problems.collect([] {});
  problems.collect([] { throw_error(ErrorKind::kData, "b: two\nlines"); });
  problems.add("c");
  EXPECT_EQ(problems.lines().size(), 3u);
  try {
    problems.raise();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_STREQ(error.what(), "a: want more than 3, got 2\nb: two\nlines\nc");
  }
}

TEST(Problems, OtherExceptionsAreNotCaught) {
  Problems problems;
  EXPECT_THROW(problems.collect([] { throw std::bad_alloc(); }), std::bad_alloc);
}

}  // namespace
}  // namespace orthant
