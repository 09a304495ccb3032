// SPDX-License-Identifier: Apache-2.0
#include "data/prepare.h"

#include <cmath>
#include <set>

#include "tests/data/prepare_testing.h"

namespace orthant {
namespace {

TEST(Prepare, TextComesBackWithAnEndOfDocument) {
  const std::string path =
      prepared("c", {write_file("a.txt", "hello"), write_file("b.txt", "you")}, 0);
  const std::vector<int32_t> want = {'h', 'e', 'l', 'l', 'o', 256, 'y', 'o', 'u', 256};
  EXPECT_EQ(all_tokens(path, Split::kTrain), want);
  const CorpusInfo info = inspect_corpus(path);
  EXPECT_EQ(info.train, (SplitInfo{10, 8, 2}));
  EXPECT_EQ(info.validation, SplitInfo{});
  EXPECT_EQ(info.tokenizer, "byte");
  EXPECT_EQ(info.end_of_document, 256);
  ASSERT_EQ(info.sources.size(), 2u);
  EXPECT_EQ(info.sources[0], fingerprint_file(test_folder() + "/a.txt"));
  EXPECT_EQ(info.sources[0].bytes, 5);
}

TEST(Prepare, SplitsOneTextAsNanoGptDoes) {
  const std::string text =
      read_bytes(std::string(ORTHANT_SOURCE_DIR) + "/tests/data/shakespeare.txt");
  ASSERT_EQ(text.size(), 1115394u);
  const std::string input = write_file("s.txt", text);
  const std::string path = prepared("s", {input}, 0.1);
  EXPECT_EQ(decoded(path, Split::kTrain), text.substr(0, 1003854));
  EXPECT_EQ(decoded(path, Split::kValidation), text.substr(1003854));
  EXPECT_EQ(inspect_corpus(path).validation, (SplitInfo{111541, 111540, 1}));
}

TEST(Prepare, CutsBetweenUtf8Characters) {
  std::string text;
  for (int i = 0; i < 10; ++i) text += "\xE2\x82\xAC";  // the euro sign, 3 bytes
  const std::string path = prepared("c", {write_file("a.txt", text)}, 0.3);  // byte 21 of 30
  EXPECT_EQ(decoded(path, Split::kTrain).size(), 21u);
  const std::string off = prepared("d", {write_file("b.txt", text)}, 0.35);  // byte 19: moves to 21
  EXPECT_EQ(decoded(off, Split::kTrain).size(), 21u);
  EXPECT_EQ(decoded(off, Split::kTrain) + decoded(off, Split::kValidation), text);
}

TEST(Prepare, ReadsLongTextsInPieces) {
  std::string text;  // about 3 MiB: one part without any newline, one with
  for (int i = 0; i < 400000; ++i) text += "word ";
  for (int i = 0; i < 150000; ++i) text += "line " + std::to_string(i % 10) + "\n";
  const std::string path = prepared("c", {write_file("a.txt", text)}, 0.25);
  EXPECT_EQ(decoded(path, Split::kTrain) + decoded(path, Split::kValidation), text);
  EXPECT_EQ(decoded(path, Split::kTrain).size(), text.size() * 3 / 4);
}

// The pieces of a long document do not show in its tokens' text, whatever the tokenizer puts in
// front of a text.
TEST(Prepare, SubWordTokensOfALongTextGiveItBack) {
  std::string text;
  while (text.size() < (size_t{1} << 20) + 5000) text += "Before we proceed any further, hear me\n";
  const std::string input = write_file("long.txt", text);
  for (const char* name : {"bpe", "dummy_space"}) {
    PrepareOptions options{.inputs = {input},
                           .output = test_folder() + "/" + name + ".h5",
                           .tokenizer = std::string(ORTHANT_SOURCE_DIR) +
                                        "/tests/golden/sentencepiece/" + name + ".model",
                           .validation_fraction = 0};
    EXPECT_TRUE(prepare(options).gives_text_back);
    EXPECT_TRUE(
        make_tokenizer(options.tokenizer)->decode(all_tokens(options.output, Split::kTrain)) ==
        text)
        << name;
  }
}

TEST(Prepare, KeepsJsonLinesWholeAndSpreadsValidation) {
  std::string lines;
  std::set<std::string> texts;
  for (int i = 0; i < 400; ++i) {
    const std::string text = "document number " + std::to_string(i) + " of the collection";
    texts.insert(text);
    lines += json_line(text);
  }
  const std::string path = prepared("c", {write_file("a.jsonl", lines)}, 0.1);
  const CorpusInfo info = inspect_corpus(path);
  EXPECT_EQ(info.train.num_documents + info.validation.num_documents, 400);
  EXPECT_NEAR(static_cast<double>(info.validation.num_bytes),
              0.1 * static_cast<double>(info.train.num_bytes + info.validation.num_bytes), 40.0);
  std::vector<int> picked;
  for (const Split split : {Split::kTrain, Split::kValidation}) {
    std::string document;
    for (const int32_t token : all_tokens(path, split)) {
      if (token != 256) {
        document.push_back(static_cast<char>(token));
        continue;
      }
      EXPECT_EQ(texts.erase(document), 1u) << document;  // whole, and on one side only
      if (split == Split::kValidation) picked.push_back(std::stoi(document.substr(16)));
      document.clear();
    }
  }
  EXPECT_TRUE(texts.empty());
  EXPECT_LT(picked.front(), 100);  // not merely the end of the file
  EXPECT_GT(picked.back(), 300);
}

TEST(Prepare, EqualDocumentsStayTogether) {
  std::string lines;
  for (int i = 0; i < 300; ++i) lines += json_line("text " + std::to_string(i % 30));
  const std::string path = prepared("c", {write_file("a.jsonl", lines)}, 0.2);
  EXPECT_EQ(inspect_corpus(path).validation.num_documents % 10, 0);
  EXPECT_GT(inspect_corpus(path).validation.num_documents, 0);
}

TEST(Prepare, FewLinesLeaveTextOnBothSides) {
  const std::string two = prepared(
      "two", {write_file("2.jsonl", json_line("the first one") + json_line("the other one"))},
      0.05);
  EXPECT_EQ(inspect_corpus(two).train.num_documents, 1);
  EXPECT_EQ(inspect_corpus(two).validation.num_documents, 1);
  const std::string one = prepared("one", {write_file("1.jsonl", json_line("0123456789"))}, 0.2);
  EXPECT_EQ(decoded(one, Split::kTrain), "01234567");
  EXPECT_EQ(decoded(one, Split::kValidation), "89");
}

TEST(Prepare, TakesExplicitValidationText) {
  PrepareOptions options;
  options.inputs = {write_file("a.txt", "training")};
  options.validation_inputs = {write_file("b.jsonl", json_line("one") + json_line("two"))};
  options.output = test_folder() + "/c.h5";
  const PrepareReport report = prepare(options);
  EXPECT_EQ(report.train, (SplitInfo{9, 8, 1}));
  EXPECT_EQ(report.validation, (SplitInfo{8, 6, 2}));
  EXPECT_EQ(decoded(options.output, Split::kValidation), "onetwo");
}

TEST(Prepare, JsonEscapesCrlfBlankLinesAndLastLine) {
  const std::string lines =
      "{\"id\": {\"text\": 1}, \"text\": \"a\\n\\u20ac\"}\r\n\n  \r\n{\"text\": \"\"}\n{\"text\": "
      "\"b\"}";
  const PrepareReport report = run({write_file("a.jsonl", lines)});
  EXPECT_EQ(report.num_documents, 2);
  EXPECT_EQ(report.num_empty_documents, 1);
  EXPECT_EQ(decoded(test_folder() + "/out.h5", Split::kTrain),
            "a\n\xE2\x82\xAC"
            "b");
}

TEST(Prepare, GzipGivesTheSameCorpus) {
  const std::string text = "some text\nin two lines\n", lines = json_line("a b") + json_line("c");
  const std::string plain =
      prepared("p", {write_file("a.txt", text), write_file("a.jsonl", lines)}, 0.3);
  const std::string packed = prepared(
      "g", {write_file("a.txt.gz", gzip(text)), write_file("a.jsonl.gz", gzip(lines))}, 0.3);
  EXPECT_EQ(inspect_corpus(plain).fingerprint, inspect_corpus(packed).fingerprint);
}

TEST(Prepare, SameInputGivesTheSameFile) {
  const std::string input = write_file("a.txt", "the same text every time");
  const std::string a = prepared("a", {input}, 0.1), b = prepared("b", {input}, 0.1);
  EXPECT_EQ(read_bytes(a), read_bytes(b));
}

TEST(Prepare, ReportsUnigramEntropy) {
  // 8 bytes of 4 kinds and one end of document in 9 tokens.
  const PrepareReport report = run({write_file("a.txt", "aabbccdd")});
  const double want = 4 * (2.0 / 9) * std::log2(4.5) + (1.0 / 9) * std::log2(9.0);
  EXPECT_NEAR(report.unigram_entropy_bits, want, 1e-12);
}

TEST(Prepare, ReportsProgressUpToOne) {
  PrepareOptions options;
  options.inputs = {write_file("a.txt", std::string(1 << 20, 'x'))};
  options.output = test_folder() + "/c.h5";
  std::vector<double> fractions;
  options.progress = [&](double fraction, double) { fractions.push_back(fraction); };
  prepare(options);
  ASSERT_FALSE(fractions.empty());
  EXPECT_EQ(fractions.back(), 1.0);
}

}  // namespace
}  // namespace orthant
