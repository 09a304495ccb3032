// SPDX-License-Identifier: Apache-2.0
#include "base/user_output.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"

namespace orthant {
namespace {

namespace fs = std::filesystem;

class UserOutputs : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("orthant_output_" + std::to_string(getpid()));
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }
  std::string path(const std::string& name) const { return (root_ / name).string(); }
  static std::string read(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  ErrorKind refusal(const std::string& output, const std::vector<std::string>& inputs = {}) {
    try {
      check_output("--output", output, inputs);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  }
  fs::path root_;
};

TEST_F(UserOutputs, AFileAppearsAtTheEndBehindItsLinks) {
  std::ofstream(path("old")) << "old";
  fs::create_directory(path("deep"));
  fs::create_symlink("../old", path("deep/link"));
  fs::create_symlink("new", path("dangling"));
  for (const auto& [name, file] : {std::pair{"deep/link", "old"}, {"dangling", "new"}}) {
    UserOutput out(path(name));
    out.write("text");
    EXPECT_NE(read(path(file)), "text");
    out.commit();
    EXPECT_EQ(read(path(file)), "text");
    EXPECT_TRUE(fs::is_symlink(path(name)));
  }
  { UserOutput(path("old")).write("half"); }
  EXPECT_EQ(read(path("old")), "text");
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), {}), 4);
}

TEST_F(UserOutputs, DevicesAndOpenFilesAreWrittenInto) {
  for (const char* name : {"/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "-"})
    EXPECT_FALSE(output_place(name).is_replaced) << name;
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  fs::create_symlink("/dev/null", path("link"));
  EXPECT_FALSE(output_place(path("pipe")).is_replaced);
  EXPECT_FALSE(output_place(path("link")).is_replaced);
  UserOutput out(path("link"));
  out.write("text");
  out.commit();
  struct stat info {};
  ASSERT_EQ(stat("/dev/null", &info), 0);
  EXPECT_TRUE(S_ISCHR(info.st_mode));
  EXPECT_TRUE(fs::is_symlink(path("link")));
}

TEST_F(UserOutputs, WhatCannotBeMeantIsRefusedBeforehand) {
  std::ofstream(path("in.jsonl")) << "in";
  fs::create_hard_link(path("in.jsonl"), path("hard"));
  fs::create_symlink("in.jsonl", path("soft"));
  for (const char* name : {"in.jsonl", "hard", "soft"})
    EXPECT_EQ(refusal(path(name), {path("in.jsonl")}), ErrorKind::kUsage) << name;
  EXPECT_EQ(refusal(path("out.jsonl.gz")), ErrorKind::kUsage);
  EXPECT_EQ(refusal(path("out.jsonl.zst")), ErrorKind::kUsage);
  EXPECT_EQ(refusal(root_.string()), ErrorKind::kCannotWrite);
  EXPECT_EQ(refusal(path("none/out")), ErrorKind::kCannotWrite);
  EXPECT_EQ(refusal(path("in.jsonl/out")), ErrorKind::kCannotWrite);
  check_output("--output", path("out.jsonl"), {path("in.jsonl")});
  check_output("--output", "/dev/null", {"/dev/null"});
  EXPECT_FALSE(fs::exists(path("none")));
}

TEST_F(UserOutputs, AFailureHasTheSystemsReason) {
  if (!fs::exists("/dev/full")) GTEST_SKIP();
  try {
    UserOutput("/dev/full").write("text");
    ADD_FAILURE() << "was written";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCannotWrite);
    EXPECT_NE(std::string(error.what()).find("No space left"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace orthant
