// SPDX-License-Identifier: Apache-2.0
#include "data/input_files.h"

#include "tests/data/files.h"

namespace orthant {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

class InputFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = test_folder() + "/in";
    for (const char* folder : {"b/deep", ".git", "z"}) fs::create_directories(root_ + "/" + folder);
    for (const char* name : {"z/c.jsonl.gz", "a.txt", "b/2.jsonl", "b/10.txt", "b/deep/x.txt.gz",
                             "b/notes.pdf", ".git/log.txt", "README", "z/d.txt.zst"})
      write_bytes(root_ + "/" + name, "x");
    fs::create_directory_symlink(root_, root_ + "/b/loop");
    fs::create_symlink("../a.txt", root_ + "/b/linked.txt");
  }
  // Paths below the root.
  Names found(const std::string& input, const std::string& format = "auto") const {
    Names names;
    for (const std::string& path : list_input_files({root_ + input}, format).paths)
      names.push_back(path.substr(root_.size()));
    return names;
  }
  std::string root_;
};

TEST_F(InputFilesTest, AFolderStandsForItsTextsInAFixedOrder) {
  EXPECT_EQ(found(""), (Names{"/a.txt", "/b/10.txt", "/b/2.jsonl", "/b/deep/x.txt.gz",
                              "/b/linked.txt", "/z/c.jsonl.gz", "/z/d.txt.zst"}));
  const InputFiles files = list_input_files({root_ + "/"}, "auto");
  EXPECT_EQ(files.paths.size(), 7u);
  EXPECT_EQ(files.paths.front(), root_ + "/a.txt");
  EXPECT_EQ(files.num_skipped, 4);  // .git, README, the loop, the PDF
  EXPECT_EQ(files.skipped,
            (Names{root_ + "/.git", root_ + "/README", root_ + "/b/loop", root_ + "/b/notes.pdf"}));
  EXPECT_EQ(found("/b", "text"), (Names{"/b/10.txt", "/b/2.jsonl", "/b/deep/x.txt.gz",
                                        "/b/linked.txt", "/b/notes.pdf"}));
}

TEST_F(InputFilesTest, APatternStandsForWhatItMatches) {
  EXPECT_EQ(found("/b/*.txt"), (Names{"/b/10.txt", "/b/linked.txt"}));
  EXPECT_EQ(found("/b/?.jsonl"), (Names{"/b/2.jsonl"}));
  EXPECT_EQ(found("/[a-b]/[0-9]*"), (Names{"/b/10.txt", "/b/2.jsonl"}));
  EXPECT_EQ(found("/**/*.txt*"),
            (Names{"/a.txt", "/b/10.txt", "/b/deep/x.txt.gz", "/b/linked.txt", "/z/d.txt.zst"}));
  EXPECT_EQ(found("/b/**"), found("/b"));
  EXPECT_EQ(found("/**"), found(""));
  EXPECT_EQ(found("/**/**/deep/*"), (Names{"/b/deep/x.txt.gz"}));
  EXPECT_EQ(found("/[bz]"), (Names{"/b/10.txt", "/b/2.jsonl", "/b/deep/x.txt.gz", "/b/linked.txt",
                                   "/z/c.jsonl.gz", "/z/d.txt.zst"}));
  EXPECT_EQ(found("/z/../b/1*"), (Names{"/z/../b/10.txt"}));
}

TEST_F(InputFilesTest, FilesStayAsTheyAreNamedAlsoTwice) {
  const std::string odd = write_bytes(root_ + "/odd[1]*.txt", "x");
  const Names inputs = {root_ + "/README", root_ + "/a.txt", odd, root_ + "/a.txt", "none.txt"};
  EXPECT_EQ(list_input_files(inputs, "auto").paths, inputs);
}

TEST_F(InputFilesTest, NothingFoundIsAnErrorThatNamesWhatWasAsked) {
  expect_error(ErrorKind::kMissingInput, {root_ + "/*.csv", "pattern", ".jsonl", ".zst"},
               [&] { found("/*.csv"); });
  expect_error(ErrorKind::kMissingInput, {root_ + "/nowhere/*.txt"},
               [&] { found("/nowhere/*.txt"); });
  expect_error(ErrorKind::kMissingInput, {root_ + "/README*", "1 others", root_ + "/README"},
               [&] { found("/README*"); });
  fs::create_directories(root_ + "/empty");
  expect_error(ErrorKind::kMissingInput, {root_ + "/empty", "folder"}, [&] { found("/empty"); });
}

TEST_F(InputFilesTest, PatternsOfTheCurrentFolderKeepShortNames) {
  const fs::path before = fs::current_path();
  fs::current_path(root_);
  const Names star = list_input_files({"*.txt"}, "auto").paths;
  const Names folder = list_input_files({"b"}, "auto").paths;
  fs::current_path(before);
  EXPECT_EQ(star, (Names{"a.txt"}));
  EXPECT_EQ(folder.front(), "b/10.txt");
}

}  // namespace
}  // namespace orthant
