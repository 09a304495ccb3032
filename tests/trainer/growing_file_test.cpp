// SPDX-License-Identifier: Apache-2.0
#include "trainer/growing_file.h"

#include <gtest/gtest.h>

#include "tests/data/files.h"

namespace orthant::testing {
namespace {

std::string out() { return test_folder() + "/out.jsonl"; }

// What a process that was killed leaves: `more` of the file, and of the journal, was not counted.
void leave(const std::string& more = "", const std::string& more_of_journal = "") {
  {
    GrowingFile file(out(), "work");
    file.add("a\nb\n", {.parts = 2, .checksum = "x", .texts = 2});
  }
  std::ofstream(out() + ".partial", std::ios::app) << more;
  std::ofstream(out() + ".partial.jsonl", std::ios::app) << more_of_journal;
}

TEST(GrowingFile, GoesOnBehindWhatTheJournalCounts) {
  leave("half a li", "{\"parts\": 3, \"te");
  GrowingFile file(out(), "work");
  EXPECT_EQ(file.done().parts, 2);
  EXPECT_EQ(file.done().checksum, "x");
  file.add("c\n", {.parts = 3, .checksum = "y", .texts = 3});
  EXPECT_FALSE(std::filesystem::exists(out()));
  file.commit();
  EXPECT_EQ(read_bytes(out()), "a\nb\nc\n");
  for (const auto& entry : std::filesystem::directory_iterator(test_folder()))
    EXPECT_EQ(entry.path().filename(), "out.jsonl");
}

TEST(GrowingFile, OtherWorkIsRefusedAndNothingIsLost) {
  leave();
  expect_error(ErrorKind::kCannotWrite, {"2 texts of other work", "remove"},
               [] { GrowingFile(out(), "other"); });
  EXPECT_EQ(GrowingFile(out(), "work").done().parts, 2);
}

TEST(GrowingFile, OneProcessWritesIt) {
  const GrowingFile file(out(), "work");
  expect_error(ErrorKind::kCannotWrite, {"another process"}, [] { GrowingFile(out(), "work"); });
}

TEST(GrowingFile, NothingFinishedLeavesNothing) {
  { const GrowingFile file(out(), "work"); }
  EXPECT_TRUE(std::filesystem::is_empty(test_folder()));
  // The journal of work that was done, by a process that was killed right behind.
  std::ofstream(out() + ".partial.jsonl") << "{\"work\": \"other\"}\n";
  EXPECT_EQ(GrowingFile(out(), "work").done().parts, 0);
}

TEST(GrowingFile, TextThatWasCountedAndIsGoneIsAnError) {
  leave();
  std::filesystem::resize_file(out() + ".partial", 3);
  expect_error(ErrorKind::kData, {"want 4 bytes", "got 3"}, [] { GrowingFile(out(), "work"); });
}

}  // namespace
}  // namespace orthant::testing
