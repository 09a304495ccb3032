// SPDX-License-Identifier: Apache-2.0
// Texts that are damaged, odd or very long.
#include "data/prepare.h"
#include "data/text_reader.h"
#include "tests/data/prepare_testing.h"

namespace orthant {
namespace {

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

}  // namespace
}  // namespace orthant
