// SPDX-License-Identifier: Apache-2.0
#include "data/prepare.h"

#include <sys/resource.h>
#include <zlib.h>

#include <cmath>
#include <csignal>
#include <set>

#include "data/cache.h"
#include "data/compression.h"
#include "data/text_reader.h"
#include "data/tokenizer.h"
#include "tests/data/files.h"

namespace orthant {
namespace {

std::string gzip(const std::string& text) {
  const std::string path = test_folder() + "/scratch.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  return read_bytes(path);
}

std::string decoded(const std::string& path, Split split) {
  return make_tokenizer("byte")->decode(all_tokens(path, split));
}

std::string json_line(const std::string& text) { return "{\"text\": \"" + text + "\"}\n"; }

PrepareReport run(const std::vector<std::string>& inputs, double fraction = 0.0) {
  PrepareOptions options;
  options.inputs = inputs;
  options.output = test_folder() + "/out.h5";
  options.validation_fraction = fraction;
  return prepare(options);
}

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
      read_bytes((std::filesystem::path(__FILE__).parent_path() / "shakespeare.txt").string());
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

TEST(Prepare, NamesFileAndLineOfBadInput) {
  const std::string good = json_line("fine");
  const std::string deep =
      "{\"text\": \"x\", \"a\": " + std::string(64, '[') + std::string(64, ']') + "}";
  const std::string ok_depth =
      "{\"text\": \"x\", \"a\": " + std::string(63, '[') + std::string(63, ']') + "}";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{\"text\": \"x\"", "not valid JSON"},
      {"{\"text\": \"\xff\xfe\"}", "not valid JSON"},
      {std::string("{\"text\": \"a\0b\"}", 15), "not valid JSON"},
      {"{\"text\": \"\\ud800\"}", "surrogate"},
      {"{\"txt\": \"x\"}", "no member \"text\""},
      {"{\"a\": {\"text\": \"x\"}}", "no member \"text\""},
      {"{\"text\": 3}", "want a string, got a number"},
      {"{\"text\": [\"x\"]}", "want a string, got an array"},
      {"{\"text\": \"x\", \"text\": \"y\"}", "twice"},
      {"[\"text\"]", "want an object"},
      {"\"text\"", "want an object"},
      {deep, "deeper than 64"},
      {"{\"text\": \"x\"} {}", "not valid JSON"},
      {std::string(100000, '['), "want an object"},
      {"{\"a\": " + std::string(1000000, '['), "deeper than 64"},
  };
  for (const auto& [line, reason] : cases) {
    const std::string path = write_file("bad.jsonl", good + "\n" + line + "\n" + good);
    expect_error(ErrorKind::kData, {"bad.jsonl:3: ", reason}, [&] { run({path}); });
  }
  EXPECT_EQ(run({write_file("ok.jsonl", ok_depth)}).num_documents, 1);
}

// Every kind of bad line, twice, among good ones: left out, counted by kind, the first ones named.
TEST(Prepare, LeavesBadLinesOutWhenAsked) {
  const std::vector<std::string> bad = {
      "{\"text\": ",
      "{\"text\": \"\xff\xfe\"}",
      "{\"text\": \"\\udc00\"}",
      "[1]",
      "{\"txt\": \"x\"}",
      "{\"text\": 3}",
      "{\"text\": \"x\", \"text\": \"y\"}",
      "{\"a\": " + std::string(64, '[') + std::string(64, ']') + "}"};
  std::string lines;
  for (int round = 0; round < 2; ++round)
    for (const std::string& line : bad) lines += json_line("good") + line + "\n";
  const std::string path = write_file("a.jsonl", lines + json_line("last"));
  PrepareOptions options{.inputs = {path, write_file("b.jsonl", "{}\n")},
                         .output = test_folder() + "/c.h5",
                         .validation_fraction = 0,
                         .bad_lines = BadLines::kSkip};
  const PrepareReport report = prepare(options);
  EXPECT_EQ(report.num_documents, 17);
  std::string good;
  for (int i = 0; i < 16; ++i) good += "good";
  EXPECT_EQ(decoded(options.output, Split::kTrain), good + "last");
  const CorpusInfo info = inspect_corpus(options.output);
  ASSERT_EQ(info.sources.size(), 2u);
  EXPECT_EQ(info.sources[0].bad_lines, 16);
  EXPECT_EQ(info.sources[1].bad_lines, 1);
  const std::vector<std::string> notes = report.notes.lines();
  ASSERT_EQ(notes.size(), 9u);
  EXPECT_EQ(notes[0],
            "17 bad lines are left out: 2 not JSON, 2 not UTF-8, 2 half of a surrogate pair, 2 no "
            "object, 3 without \"text\", 2 \"text\" that is no string, 2 \"text\" twice, 2 nested "
            "too deep");
  for (size_t i = 0; i < 5; ++i)
    EXPECT_NE(notes[i + 1].find("a.jsonl:" + std::to_string(2 * i + 2) + ": "), std::string::npos)
        << notes[i + 1];
  EXPECT_EQ(notes[6], "  and 12 more");
  EXPECT_EQ(notes[7], "1 file holds no text");
  options.inputs = {options.inputs[1]};
  expect_error(ErrorKind::kData, {"b.jsonl", "no text"}, [&] { prepare(options); });
  // What an error says when lines are not left out.
  expect_error(ErrorKind::kData, {"a.jsonl:2: ", "--bad-lines skip"}, [&] { run({path}); });
}

// A book, or a repository, in one line: far more than a piece, and its pieces join seamlessly.
TEST(Prepare, ReadsVeryLongLines) {
  std::string book, text;  // as JSON, and as it is
  for (int i = 0; book.size() < (size_t{20} << 20); ++i) {
    book += i % 7 == 0 ? "a line of the book\\n" : "\xE2\x82\xAC uro ";
    text += i % 7 == 0 ? "a line of the book\n" : "\xE2\x82\xAC uro ";
  }
  const std::string input =
      write_file("a.jsonl", json_line("short") + json_line(book) + json_line("end"));
  const std::string path = prepared("c", {input}, 0.0);
  EXPECT_EQ(inspect_corpus(path).train.num_documents, 3);
  EXPECT_TRUE(decoded(path, Split::kTrain) == "short" + text + "end");
  // It stays whole also where validation is drawn, and is cut where there is nothing else.
  const CorpusInfo drawn = inspect_corpus(prepared("d", {input}, 0.5));
  EXPECT_EQ(drawn.train.num_documents + drawn.validation.num_documents, 3);
  EXPECT_GE(std::max(drawn.train.num_bytes, drawn.validation.num_bytes),
            static_cast<int64_t>(text.size()));
  const std::string cut = prepared("e", {write_file("b.jsonl", json_line(book))}, 0.25);
  EXPECT_TRUE(decoded(cut, Split::kTrain) + decoded(cut, Split::kValidation) == text);
  EXPECT_NEAR(static_cast<double>(inspect_corpus(cut).validation.num_bytes),
              0.25 * static_cast<double>(text.size()), 3);
}

TEST(TextReader, ALineOverTheBoundIsABadLineAndIsNotKept) {
  const std::string endless = std::string(1 << 20, 'x');  // in several reads
  const std::string path =
      write_file("a.jsonl", json_line("a") + endless + "\n" + json_line("b") + endless);
  TextNotes notes;
  TextReader::Piece piece;
  TextReader reader(path, TextFormat::kJsonl,
                    {.bad_lines = BadLines::kSkip, .notes = &notes, .max_line_bytes = 1000});
  std::string text;
  while (reader.next(piece)) text += piece.text;
  EXPECT_EQ(text, "ab");
  EXPECT_EQ(notes.num_bad_lines(), 2);
  ASSERT_GE(notes.lines().size(), 3u);
  EXPECT_EQ(notes.lines()[1], "  " + path + ":2: the line is longer than 1000 bytes");
  EXPECT_EQ(notes.lines()[2], "  " + path + ":4: the line is longer than 1000 bytes");
  TextReader strict(path, TextFormat::kJsonl, {.max_line_bytes = 1000});
  ASSERT_TRUE(strict.next(piece));
  expect_error(ErrorKind::kData, {"a.jsonl:2: ", "longer than 1000"}, [&] { strict.next(piece); });
}

TEST(Prepare, ReadsAllMembersOfAGzipFileAndTellsOfOtherBytesBehind) {
  std::string many;
  for (const char* text : {"one ", "", "two ", "three"}) many += gzip(text);
  const PrepareReport clean = run({write_file("a.txt.gz", many)});
  EXPECT_EQ(decoded(test_folder() + "/out.h5", Split::kTrain), "one two three");
  EXPECT_EQ(clean.notes.lines(), std::vector<std::string>{});
  // Zeros of a tape's block, a damaged signature that hides a member, half a signature.
  for (const std::string& behind :
       {std::string(300000, '\0'), "\x1f\x8c" + gzip("lost").substr(2), std::string("\x1f")}) {
    const std::string path = write_file("b.txt.gz", many + behind);
    const PrepareReport report = run({path});
    EXPECT_EQ(decoded(test_folder() + "/out.h5", Split::kTrain), "one two three");
    ASSERT_EQ(report.notes.lines().size(), 2u);
    EXPECT_NE(report.notes.lines()[0].find("behind the last gzip member"), std::string::npos);
    EXPECT_EQ(report.notes.lines()[1], "  " + path + ": " + std::to_string(behind.size()) +
                                           (behind.size() == 1 ? " byte" : " bytes"));
  }
  const std::string cut = many + gzip("the last member").substr(0, 15);
  expect_error(ErrorKind::kData, {"c.txt.gz", "truncated", "inside of a member"},
               [&] { run({write_file("c.txt.gz", cut)}); });
  expect_error(ErrorKind::kData, {"d.txt.gz", "not a gzip"},
               [] { run({write_file("d.txt.gz", "")}); });
}

TEST(Prepare, SaysHowMuchOfATextIsNotUtf8) {
  std::string latin;
  for (int i = 0; i < 200000; ++i) latin += i == 150000 ? "caf\xE9\n" : "coffee\n";  // two pieces
  const std::string path = write_file("a.txt", latin);
  const PrepareReport report = run({path, write_file("b.txt", "caf\xC3\xA9")});
  EXPECT_EQ(decoded(test_folder() + "/out.h5", Split::kTrain), latin + "caf\xC3\xA9");
  const std::vector<std::string> notes = report.notes.lines();
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_NE(notes[0].find("1 text is not UTF-8 throughout"), std::string::npos) << notes[0];
  EXPECT_EQ(notes[1], "  " + path + ":150001: the first of 1 such bytes of " +
                          std::to_string(latin.size()) + " (less than 0.01%)");
  const std::vector<std::string> wide =
      run({write_file("w.txt", std::string("\xFF\xFEh\0i\0", 6))}).notes.lines();
  ASSERT_EQ(wide.size(), 2u);
  EXPECT_NE(wide[1].find("w.txt:1: the first of 2 such bytes of 6 (33.33%); it begins as UTF-16"),
            std::string::npos)
      << wide[1];
}

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
