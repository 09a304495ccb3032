// SPDX-License-Identifier: Apache-2.0
#include "base/durable_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>

#include "base/error.h"

namespace orthant {
namespace {

namespace fs = std::filesystem;

class DurableFile : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("orthant_durable_" + std::to_string(getpid()));
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(root_), {}));
  }
  fs::path root_;
};

std::string read(const fs::path& path) {
  std::ifstream in(path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

unsigned mode_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(stat(path.c_str(), &status), 0);
  return status.st_mode & 0777u;
}

std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCannotWrite) << error.what();
    return error.what();
  }
  return "(no error)";
}

TEST_F(DurableFile, ReplacesAFileAsAWhole) {
  replace_file(root_ / "a", "one");
  replace_file(root_ / "a", std::string(1 << 20, 'x'));
  EXPECT_EQ(read(root_ / "a").size(), size_t{1} << 20);
  EXPECT_EQ(entries(), 1u);
}

TEST_F(DurableFile, NewFilesAndFoldersGetWhatTheUmaskLeaves) {
  const mode_t before = umask(0027);
  make_folders(root_ / "folder");
  replace_file(root_ / "folder/a", "x");
  umask(0002);
  replace_file(root_ / "folder/b", "x");
  umask(before);
  EXPECT_EQ(mode_of(root_ / "folder"), 0750u);
  EXPECT_EQ(mode_of(root_ / "folder/a"), 0640u);
  EXPECT_EQ(mode_of(root_ / "folder/b"), 0664u);
}

TEST_F(DurableFile, UncommittedReplacementLeavesTheOldFileAndNothingElse) {
  replace_file(root_ / "a", "old");
  {
    const FileReplacement replacement(root_ / "a");
    std::ofstream(replacement.temporary()) << "half";
    EXPECT_EQ(entries(), 2u);
  }
  EXPECT_EQ(read(root_ / "a"), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(DurableFile, ALinkIsReplacedNotWrittenThrough) {
  replace_file(root_ / "target", "kept");
  fs::create_symlink(root_ / "target", root_ / "link");
  replace_file(root_ / "link", "new");
  EXPECT_EQ(read(root_ / "target"), "kept");
  EXPECT_EQ(read(root_ / "link"), "new");
  EXPECT_FALSE(fs::is_symlink(root_ / "link"));
  // Nor is one that somebody laid under the temporary name.
  fs::create_symlink(root_ / "target", FileReplacement(root_ / "b").temporary());
  replace_file(root_ / "b", "mine");
  EXPECT_EQ(read(root_ / "target"), "kept");
}

TEST_F(DurableFile, FailuresNameThePathAndTheReasonAndLeaveNothing) {
  EXPECT_NE(refusal([&] {
              replace_file(root_ / "no/b", "x");
            }).find((root_ / "no/b").string() + ": cannot write: No such file"),
            std::string::npos);
  fs::create_directories(root_ / "taken/inside");
  const std::string taken = refusal([&] { replace_file(root_ / "taken", "x"); });
  EXPECT_NE(taken.find("taken: cannot write: "), std::string::npos) << taken;
  replace_file(root_ / "file", "x");
  const std::string below = refusal([&] { make_folders(root_ / "file/folder"); });
  EXPECT_NE(below.find("file/folder: cannot make the directory: Not a dir"), std::string::npos);
  const std::string is_file = refusal([&] { make_folders(root_ / "file"); });
  EXPECT_NE(is_file.find("cannot make the directory"), std::string::npos) << is_file;
  EXPECT_EQ(entries(), 2u);
}

// A file that may not grow stands for a full disk.
TEST_F(DurableFile, NoRoomKeepsTheOldContentAndSaysHowMuchIsFree) {
  replace_file(root_ / "a", "old");
  rlimit limit{};
  getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit small{1000, limit.rlim_max};
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string full = refusal([&] { replace_file(root_ / "a", std::string(5000, 'x')); });
  setrlimit(RLIMIT_FSIZE, &limit);
  signal(SIGXFSZ, handler);
  EXPECT_NE(full.find("a: cannot write: File too large ("), std::string::npos) << full;
  EXPECT_NE(full.find(" free)"), std::string::npos) << full;
  EXPECT_EQ(read(root_ / "a"), "old");
  EXPECT_EQ(entries(), 1u);
}

}  // namespace
}  // namespace orthant
