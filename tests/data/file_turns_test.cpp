// SPDX-License-Identifier: Apache-2.0
// Several files at once: the corpus, the notes and the errors of one after the other.
#include "data/file_turns.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "base/context.h"
#include "tests/data/prepare_testing.h"

namespace orthant {
namespace {

// Runs on so many threads.
template <class Action>
auto on_threads(int threads, Action action) {
  RankContext own = context();
  own.num_threads = threads;
  const ContextScope scope(own);
  return action();
}

TEST(FileTurns, EveryFileHasOneTurnAndTheLastOneAllThreads) {
  on_threads(4, [] {
    std::vector<std::atomic<int>> turns(50), busy(4);
    std::atomic<int> most_threads{0};
    for_each_file(turns.size(), [&](FileTurn& turn) {
      EXPECT_TRUE(turn.goes_on());
      EXPECT_LT(turn.lane, 4u);
      EXPECT_EQ(busy[turn.lane]++, 0);
      ++turns[turn.file];
      while (turn.file == 49 && context().num_threads < 4)  // until the others have none
        EXPECT_TRUE(turn.goes_on());
      most_threads = std::max(most_threads.load(), context().num_threads);
      --busy[turn.lane];
    });
    for (const std::atomic<int>& count : turns) EXPECT_EQ(count, 1);
    EXPECT_EQ(most_threads, 4);
    EXPECT_EQ(context().num_threads, 4);
  });
}

// File 3 fails first, then file 1, then what was begun behind them.
TEST(FileTurns, TheFirstFailureInTheOrderOfTheFilesIsThrown) {
  on_threads(4, [] {
    std::atomic<bool> third_has_failed{false}, first_fails{false}, later_one_is_begun{false};
    std::atomic<int> begun{0};
    expect_error(ErrorKind::kData, {"file 1 "}, [&] {
      for_each_file(100, [&](FileTurn& turn) {
        ++begun;
        if (turn.file == 0 || turn.file == 2) return;
        while (turn.file == 3 && !later_one_is_begun) EXPECT_TRUE(turn.goes_on());
        while (turn.file == 1 && !third_has_failed) EXPECT_TRUE(turn.goes_on());
        if (turn.file > 3) {
          later_one_is_begun = true;
          while (!first_fails) std::this_thread::yield();
          std::this_thread::sleep_for(std::chrono::milliseconds(30));
        }
        if (turn.file == 3) third_has_failed = true;
        if (turn.file == 1) first_fails = true;
        throw_error(ErrorKind::kData, concat("file ", turn.file, " is bad"));
      });
    });
    EXPECT_LT(begun, 50);  // what stands behind a failure is not begun
  });
}

struct Prepared {
  std::string bytes;
  std::vector<std::string> notes;
  PrepareReport report;
};

Prepared prepare_on(int threads, PrepareOptions options) {
  return on_threads(threads, [&] {
    Prepared prepared;
    options.output = test_folder() + "/out.h5";
    prepared.report = prepare(options);
    prepared.notes = prepared.report.notes.lines();
    prepared.bytes = read_bytes(options.output);
    return prepared;
  });
}

// Files of all kinds and sizes, of which some are bad in part.
std::vector<std::string> mixed_files() {
  std::vector<std::string> inputs;
  for (int file = 0; file < 12; ++file) {
    std::string lines, text;
    for (int line = 0; line < (file % 5 == 0 ? 4000 : 30); ++line) {
      const std::string words = "document " + std::to_string(line * 13 + file) + " of many words";
      lines += line == 17 && file % 3 == 1 ? "{\n" : json_line(words);
      text += words + (file == 8 ? " " : "\n");
    }
    const std::string name = std::to_string(file);
    if (file % 4 == 0) inputs.push_back(write_file(name + ".txt", text + "caf\xE9"));
    if (file % 4 == 1) inputs.push_back(write_file(name + ".jsonl", lines));
    if (file % 4 == 2) inputs.push_back(write_file(name + ".jsonl.gz", gzip(lines) + "behind"));
    if (file % 4 == 3) inputs.push_back(write_file(name + ".jsonl", "\n"));
  }
  return inputs;
}

TEST(Prepare, GivesTheSameCorpusForAnyNumberOfThreads) {
  for (const char* tokenizer : {"byte", "sentencepiece/bpe.model", "tokenizers/llama2.json"}) {
    PrepareOptions options{.inputs = mixed_files(),
                           .tokenizer = tokenizer,
                           .validation_fraction = 0.1,
                           .bad_lines = BadLines::kSkip};
    if (options.tokenizer != "byte")
      options.tokenizer = std::string(ORTHANT_SOURCE_DIR) + "/tests/golden/" + tokenizer;
    const Prepared one = prepare_on(1, options);
    EXPECT_GT(one.report.validation.num_documents, 4);
    EXPECT_GT(one.notes.size(), 8u);
    for (const int threads : {2, 9}) {
      const Prepared many = prepare_on(threads, options);
      EXPECT_TRUE(many.bytes == one.bytes) << tokenizer << " " << threads;
      EXPECT_EQ(many.notes, one.notes) << threads;
      EXPECT_EQ(many.report.train, one.report.train);
      EXPECT_EQ(many.report.num_documents, one.report.num_documents);
      EXPECT_EQ(many.report.unigram_entropy_bits, one.report.unigram_entropy_bits);
    }
  }
}

TEST(Prepare, TheFirstBadLineInTheOrderOfTheInputsIsTheError) {
  std::string many;
  for (int i = 0; i < 50000; ++i) many += json_line("a line");
  const std::vector<std::string> inputs = {write_file("a.jsonl", many + "{\n"),
                                           write_file("b.jsonl", "{\n"),
                                           write_file("c.jsonl.gz", "no gzip")};
  for (const int threads : {1, 3})
    expect_error(ErrorKind::kData, {"a.jsonl:50001: "},
                 [&] { prepare_on(threads, {.inputs = inputs}); });
}

TEST(Prepare, ProgressOfSeveralFilesOnlyGrows) {
  std::vector<double> fractions;
  std::mutex mutex;
  PrepareOptions options{.progress = [&](double fraction, double) {
    const std::scoped_lock lock(mutex);
    fractions.push_back(fraction);
  }};
  std::string text;
  while (text.size() < size_t{8} << 20) text += "some text of several files\n";
  for (int file = 0; file < 4; ++file)
    options.inputs.push_back(write_file(std::to_string(file) + ".txt", text));
  prepare_on(3, options);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_EQ(std::count(fractions.begin(), fractions.end(), 1.0), 1);
  for (const double fraction : fractions) EXPECT_LE(fraction, 1.0);
}

}  // namespace
}  // namespace orthant
