// SPDX-License-Identifier: Apache-2.0
// Files that cannot be read or written, corpora that are kept in a cache, gzip as a yardstick.
#include <sys/resource.h>

#include <csignal>

#include "data/cache.h"
#include "data/compression.h"
#include "tests/data/prepare_testing.h"

namespace orthant {
namespace {

TEST(Prepare, NamesBadFiles) {
  expect_error(ErrorKind::kMissingInput, {"none.txt"}, [] { run({test_folder() + "/none.txt"}); });
  expect_error(ErrorKind::kData, {"empty.txt", "no text"},
               [] { run({write_file("empty.txt", "")}); });
  expect_error(ErrorKind::kData, {"blank.jsonl", "no text"},
               [] { run({write_file("blank.jsonl", "\n\n")}); });
  expect_error(ErrorKind::kData, {"regular file"}, [] {
    std::filesystem::create_directories(test_folder() + "/dir.txt");
    run({test_folder() + "/dir.txt"});
  });
  expect_error(ErrorKind::kConfig, {"a.pdf", ".jsonl"}, [] { run({write_file("a.pdf", "x")}); });
  const std::string packed = gzip(std::string(100000, 'x') + "end");
  expect_error(ErrorKind::kData, {"cut.txt.gz", "gzip"},
               [&] { run({write_file("cut.txt.gz", packed.substr(0, packed.size() / 2))}); });
  expect_error(ErrorKind::kData, {"plain.txt.gz", "not a gzip"},
               [] { run({write_file("plain.txt.gz", "plain text")}); });
  expect_error(ErrorKind::kConfig, {"fraction", "1"}, [] { run({write_file("a.txt", "x")}, 1.0); });
}

TEST(Prepare, LeavesNothingBehindWhenItFails) {
  const std::string good = json_line("fine");
  const std::string folder = test_folder() + "/out";
  const auto attempt = [&](const std::string& lines) {
    PrepareOptions options;
    options.inputs = {write_file("a.jsonl", lines)};
    options.output = folder + "/c.h5";
    prepare(options);
  };
  attempt(good);
  const std::string before = read_bytes(folder + "/c.h5");
  expect_error(ErrorKind::kData, {"a.jsonl:2"}, [&] { attempt(good + "{"); });
  EXPECT_EQ(read_bytes(folder + "/c.h5"), before);  // the older corpus is still there
  int64_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++files;
  EXPECT_EQ(files, 1);
}

TEST(Prepare, CannotWriteIsItsOwnKind) {
  const std::string input = write_file("a.txt", "x");
  for (const std::string& output : {input + "/c.h5", test_folder()})
    expect_error(ErrorKind::kCannotWrite, {output}, [&] {
      PrepareOptions options;
      options.inputs = {input};
      options.output = output;
      prepare(options);
    });
}

// A file that may not grow stands for a full disk: first the spooled tokens of one split (2 MB) do
// not fit, then the finished file (both splits, 4 MB) does not.
TEST(Prepare, FullDiskIsReportedAndLeavesNothing) {
  const std::string input = write_file("a.txt", std::string(2'000'000, 'x'));
  const std::string folder = test_folder() + "/out";
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t limit : {rlim_t{1'000'000}, rlim_t{3'000'000}}) {
    const rlimit small{limit, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    expect_error(ErrorKind::kCannotWrite, {folder + "/c.h5"}, [&] {
      PrepareOptions options;
      options.inputs = {input};
      options.output = folder + "/c.h5";
      options.validation_fraction = 0.5;
      prepare(options);
    });
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_TRUE(std::filesystem::is_empty(folder)) << limit;
  }
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(run({input}).num_documents, 1);  // HDF5 still works
}

TEST(EnsurePrepared, PreparesOnceAndKeysByContentAndOptions) {
  CacheOptions options{.cache_dir = test_folder() + "/cache"};
  const std::string text = write_file("notes.txt", std::string(1000, 'x'));
  const std::string first = ensure_prepared(text, options);
  EXPECT_EQ(first.find(options.cache_dir + "/notes-"), 0u);
  const auto time = std::filesystem::last_write_time(first);
  EXPECT_EQ(ensure_prepared(text, options), first);
  EXPECT_EQ(std::filesystem::last_write_time(first), time);
  // The same content elsewhere under the same name is the same corpus.
  std::filesystem::create_directories(test_folder() + "/copy");
  const std::string copy = write_bytes(test_folder() + "/copy/notes.txt", std::string(1000, 'x'));
  EXPECT_EQ(ensure_prepared(copy, options), first);
  options.validation_fraction = 0.5;
  EXPECT_NE(ensure_prepared(text, options), first);
  write_bytes(text, std::string(1000, 'y'));
  options.validation_fraction = 0.05;
  const std::string changed = ensure_prepared(text, options);
  EXPECT_NE(changed, first);
  options.redact = true;
  EXPECT_NE(ensure_prepared(text, options), changed);
  options.redact = false;
  options.validation_only = true;
  const std::string validation = ensure_prepared(text, options);
  EXPECT_NE(validation, changed);
  EXPECT_EQ(inspect_corpus(validation).train, SplitInfo{});
  EXPECT_EQ(inspect_corpus(validation).validation, (SplitInfo{1001, 1000, 1}));
  EXPECT_EQ(ensure_prepared(first, options), first);  // a corpus is taken as it is
  expect_error(ErrorKind::kMissingInput, {"none.txt"},
               [&] { ensure_prepared(test_folder() + "/none.txt", options); });
}

TEST(EnsurePrepared, LeavesBadLinesOutOnlyWhereAskedAndSaysSoEveryTime) {
  CacheOptions options{.cache_dir = test_folder() + "/cache"};
  const std::string text = write_file("a.jsonl", json_line("good") + "{\n");
  expect_error(ErrorKind::kData, {"a.jsonl:2: "}, [&] { ensure_prepared(text, options); });
  options.bad_lines = BadLines::kSkip;
  for (int again = 0; again < 2; ++again) {
    ::testing::internal::CaptureStderr();
    ensure_prepared(text, options);
    const std::string logged = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(logged.find("1 bad line"), std::string::npos) << logged;
    EXPECT_NE(logged.find("left out"), std::string::npos) << logged;
  }
  options.bad_lines =
      BadLines::kFail;  // a corpus that lacks lines does not stand in for one that may not
  expect_error(ErrorKind::kData, {"a.jsonl:2: "}, [&] { ensure_prepared(text, options); });
}

TEST(Gzip, SizeIsThatOfARealGzipFile) {
  std::string text;
  for (int i = 0; i < 20000; ++i) text += std::to_string(i * 7919 % 1000) + " ";
  const std::string path = test_folder() + "/x.gz";
  gzFile file = gzopen(path.c_str(), "wb9");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  EXPECT_EQ(gzip_size(text), static_cast<int64_t>(std::filesystem::file_size(path)));

  const std::string corpus_path = prepared("c", {write_file("a.txt", text)}, 0.5);
  const auto corpus = Corpus::open(corpus_path, Split::kValidation);
  const std::string part = decoded(corpus_path, Split::kValidation);
  EXPECT_DOUBLE_EQ(gzip_bits_per_byte(*corpus, *make_tokenizer("byte")),
                   8.0 * static_cast<double>(gzip_size(part)) / static_cast<double>(part.size()));
}

}  // namespace
}  // namespace orthant
