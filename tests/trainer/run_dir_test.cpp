// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/run_dir.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>

#include "base/clock.h"
#include "base/durable_file.h"
#include "base/error.h"

namespace orthant {
namespace {

std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCannotWrite) << error.what();
    return error.what();
  }
  return "(no error)";
}

std::string read_text(const std::string& path) {
  std::ifstream in(path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

class RunDirTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::temp_directory_path() / ("orthant_run_" + std::to_string(getpid()));
    paths_.dir = (root_ / "runs" / "demo").string();
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  std::filesystem::path root_;
  RunPaths paths_;
};

TEST_F(RunDirTest, MakesTheDirectoryTwiceAndLeavesNoLitter) {
  create_run_dir(paths_);
  create_run_dir(paths_);
  EXPECT_TRUE(std::filesystem::is_directory(paths_.checkpoints()));
  EXPECT_EQ(paths_.log_file(3), paths_.dir + "/logs/rank-00003.log");
  EXPECT_EQ(paths_.log_file(123456), paths_.dir + "/logs/rank-123456.log");
  size_t entries = 0;
  for ([[maybe_unused]] const auto& e : std::filesystem::directory_iterator(paths_.dir)) ++entries;
  EXPECT_EQ(entries, 2u);  // checkpoints and logs
}

TEST_F(RunDirTest, RefusesPlacesWhereNothingCanBeWritten) {
  std::filesystem::create_directories(root_);
  std::ofstream(root_ / "file") << "x";
  const std::string below = root_ / "file" / "run";
  const std::string not_dir = refusal([&] { create_run_dir({below}); });
  EXPECT_NE(not_dir.find(below + ": cannot make the directory: Not a directory"), std::string::npos)
      << not_dir;
  const std::string is_file = refusal([&] { create_run_dir({root_ / "file"}); });
  EXPECT_NE(is_file.find("cannot make the directory"), std::string::npos) << is_file;
  const std::string proc = refusal([] { check_writable("/proc/self"); });
  EXPECT_NE(proc.find("/proc/self/.write-test: cannot write: "), std::string::npos) << proc;
  const std::string parent = refusal([] { replace_file("/nonexistent/a/b", "x"); });
  EXPECT_NE(parent.find("/nonexistent/a/b: cannot write: No such file"), std::string::npos);
}

TEST_F(RunDirTest, ReplacesAFileAsAWhole) {
  std::filesystem::create_directories(root_);
  const std::string path = root_ / "config.yaml";
  replace_file(path, "one");
  replace_file(path, std::string(1 << 20, 'x'));
  EXPECT_EQ(read_text(path).size(), size_t{1} << 20);
  std::filesystem::create_directories(root_ / "taken" / "inside");
  EXPECT_NE(refusal([&] { replace_file(root_ / "taken", "x"); }).find("cannot write"),
            std::string::npos);
  size_t entries = 0;
  for ([[maybe_unused]] const auto& e : std::filesystem::directory_iterator(root_)) ++entries;
  EXPECT_EQ(entries, 2u);  // the temporary file of the failed one is gone
}

TEST_F(RunDirTest, SecondRunIsRefusedNamingTheHolder) {
  create_run_dir(paths_);
  std::optional<RunLock> first(std::in_place, paths_);
  EXPECT_EQ(first->note(), "");
  const double start = now_seconds();
  const std::string message = refusal([&] { RunLock second(paths_, 0.1); });
  EXPECT_LT(now_seconds() - start, 2.0);
  EXPECT_NE(message.find(concat(paths_.dir, ": in use by process ", getpid(), " on ")),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("(since 20"), std::string::npos) << message;
  first.reset();
  const RunLock third(paths_, 0.0);
  EXPECT_EQ(third.note(), "");
}

TEST_F(RunDirTest, LockEndsWithItsProcessAndIsTakenOverWithANote) {
  create_run_dir(paths_);
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    RunLock held(paths_, 0.0);
    const bool told = write(ready[1], "x", 1) == 1;
    if (told) pause();
    _exit(1);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  close(ready[1]);
  const std::string message = refusal([&] { RunLock second(paths_, 0.05); });
  EXPECT_NE(message.find(concat("process ", child, " on ")), std::string::npos) << message;
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  testing::internal::CaptureStderr();
  const RunLock taken(paths_, 0.0);
  const std::string logged = testing::internal::GetCapturedStderr();
  EXPECT_NE(taken.note().find(concat("took over the lock of process ", child)), std::string::npos)
      << taken.note();
  EXPECT_NE(taken.note().find("which is gone"), std::string::npos) << taken.note();
  EXPECT_NE(logged.find(taken.note()), std::string::npos) << logged;
}

TEST_F(RunDirTest, LockWaitsForAProcessThatIsJustEnding) {
  create_run_dir(paths_);
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    {
      RunLock held(paths_, 0.0);
      if (write(ready[1], "x", 1) == 1) usleep(100000);
    }
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  const RunLock taken(paths_, 2.0);
  EXPECT_EQ(taken.note(), "");
  waitpid(child, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
}

TEST_F(RunDirTest, GarbageInTheLockFileIsNoHolder) {
  create_run_dir(paths_);
  std::ofstream(paths_.lock()) << "\x01 nonsense pid pid";
  const RunLock taken(paths_, 0.0);
  EXPECT_EQ(taken.note(), "");
  EXPECT_NE(read_text(paths_.lock()).find(concat("pid ", getpid(), "\n")), std::string::npos);
}

}  // namespace
}  // namespace orthant
