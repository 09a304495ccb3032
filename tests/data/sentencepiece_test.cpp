// SPDX-License-Identifier: Apache-2.0
#include "data/sentencepiece.h"

#include <nlohmann/json.hpp>

#include "base/philox.h"
#include "data/text_stream.h"
#include "data/tokenizer_training.h"
#include "tests/data/files.h"

namespace orthant {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

std::string golden(const std::string& name) {
  return std::string(ORTHANT_SOURCE_DIR) + "/tests/golden/sentencepiece/" + name;
}
std::unique_ptr<Tokenizer> golden_model(const std::string& name) {
  return make_tokenizer(golden(name + ".model"));
}
std::string shakespeare() {
  return std::string(ORTHANT_SOURCE_DIR) + "/tests/data/shakespeare.txt";
}

// ids and decoded text of PyPI's library (make.py beside the files).
TEST(SentencePiece, EncodesAndDecodesAsTheLibraryDoes) {
  const Json all = Json::parse(read_bytes(golden("golden.json")));
  for (const auto& [name, model] : all["models"].items()) {
    const auto tokenizer = golden_model(name);
    EXPECT_EQ(tokenizer->vocab_size(), model["vocab_size"].get<int>());
    const SpecialIds special = tokenizer->special_ids();
    EXPECT_EQ(special.bos, model["bos"].get<int>());
    EXPECT_EQ(special.eos, model["eos"].get<int>());
    EXPECT_EQ(special.unk, model["unk"].get<int>());
    EXPECT_EQ(special.pad, model["pad"].get<int>());
    EXPECT_EQ(tokenizer->end_of_document(), special.eos);
    ASSERT_GE(model["texts"].size(), 20u);
    for (const Json& item : model["texts"]) {
      const std::string text = item["text"];
      const Ids want = item["ids"];
      EXPECT_EQ(tokenizer->encode(text), want) << name << ": '" << text << "'";
      EXPECT_EQ(tokenizer->decode(want), item["decoded"].get<std::string>()) << name;
    }
  }
}

// Bytes that are no UTF-8 and the library's own mark for a space, which it does not give back.
TEST(SentencePiece, GivesEveryTextBackToTheByte) {
  std::vector<std::string> texts = {
      "\xff",      "a\xC3",        "\xE2\x96\x81",     "a\xE2\x96\x81 b",
      " \xE2\x96", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC0\x80",
      ""};
  for (int c = 0; c < 256; ++c) texts.back().push_back(static_cast<char>(c));
  const PhiloxKey key = make_key(1, RandomPurpose::kTest, "texts");
  const std::vector<std::string> parts = {"a",
                                          " ",
                                          "\n",
                                          "the",
                                          "\xE2",
                                          "\x96",
                                          "\x81",
                                          "\xC3\xA9",
                                          "\xF0\x9F\x98\x80",
                                          "\t",
                                          std::string(1, '\0'),
                                          "<0x41>"};
  for (uint64_t i = 0; i < 300; ++i) {
    std::string text;
    for (uint64_t j = 0; j < i % 17; ++j) text += parts[philox(key, i, j).x[0] % parts.size()];
    texts.push_back(text);
  }
  for (const char* name : {"unigram", "bpe", "dummy_space"}) {
    const auto tokenizer = golden_model(name);
    for (const std::string& text : texts) {
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << name;
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, true), true), text) << name;
    }
  }
}

// A document handed over in pieces has one dummy space, at its beginning.
TEST(SentencePiece, PiecesOfADocumentJoin) {
  const auto tokenizer = golden_model("dummy_space");
  Ids ids = tokenizer->encode("First Citizen:");
  for (const int32_t id : tokenizer->encode("\nBefore", true)) ids.push_back(id);
  EXPECT_EQ(tokenizer->decode(ids), "First Citizen:\nBefore");
  ids.push_back(tokenizer->end_of_document());
  for (const int32_t id : tokenizer->encode("word")) ids.push_back(id);
  EXPECT_EQ(tokenizer->decode(ids), "First Citizen:\nBeforeword");
  EXPECT_NE(tokenizer->encode("word"), tokenizer->encode("word", true));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("word"), true), " word");
}

TEST(SentencePiece, IsNamedByItsContent) {
  const auto a = golden_model("unigram"), b = golden_model("bpe");
  const std::string copy = write_file("other.model", read_bytes(golden("unigram.model")));
  EXPECT_EQ(a->name(), make_tokenizer(copy)->name());
  EXPECT_NE(a->name(), b->name());
  EXPECT_TRUE(a->name().starts_with("sentencepiece:"));
  ASSERT_EQ(a->model_files().size(), 1u);
  EXPECT_EQ(a->model_files()[0].name, "tokenizer.model");
  EXPECT_EQ(a->model_files()[0].content, read_bytes(copy));
}

TEST(SentencePiece, RefusesWhatIsNoModel) {
  const std::string whole = read_bytes(golden("unigram.model"));
  for (const std::string& content :
       {std::string(), std::string("not a model"), whole.substr(0, 300), std::string(5000, '\x0a')})
    expect_error(ErrorKind::kData, {"bad.model", "SentencePiece"},
                 [&] { make_tokenizer(write_file("bad.model", content)); });
  expect_error(ErrorKind::kMissingInput, {"none.model"}, [] { make_tokenizer("/none.model"); });
  const auto tokenizer = golden_model("unigram");
  for (const int32_t bad : {-1, 480})
    expect_error(ErrorKind::kData, {std::to_string(bad), "480"},
                 [&] { tokenizer->decode(std::span(&bad, 1)); });
}

TEST(SentencePiece, UnknownTextIsCountedAsNoText) {
  const auto tokenizer = golden_model("lossy");
  const Ids ids = tokenizer->encode("\xE6\x97\xA5");
  ASSERT_EQ(ids.back(), tokenizer->special_ids().unk);
  EXPECT_FALSE(tokenizer->decode(ids).empty());
  EXPECT_EQ(tokenizer->text_bytes(ids.back()), 0);
  EXPECT_EQ(tokenizer->text_bytes(tokenizer->end_of_document()), 0);
}

TEST(TextStream, HoldsBackHalfCharacters) {
  const std::string text = "caf\xC3\xA9 \xF0\x9F\x98\x80!\xE2\x82";  // the last one lacks a byte
  for (const auto& tokenizer : {make_tokenizer("byte"), golden_model("unigram")}) {
    TextStream stream(*tokenizer);
    std::string all;
    for (const int32_t id : tokenizer->encode(text)) {
      const std::string piece = stream.add(id);
      EXPECT_EQ(valid_utf8(piece), piece);
      all += piece;
    }
    EXPECT_EQ(all, text.substr(0, text.size() - 2));
    EXPECT_EQ(stream.finish(), "\xE2\x82");
    EXPECT_EQ(stream.finish(), "");
  }
}

TEST(TextStream, PassesBrokenTextOn) {
  const auto tokenizer = make_tokenizer("byte");
  TextStream stream(*tokenizer);
  std::string all;
  for (const int32_t id : {0x80, 0x80, 0x80, 0x80, 0xE2, 0x61, 0xFF}) all += stream.add(id);
  EXPECT_EQ(all + stream.finish(),
            "\x80\x80\x80\x80\xE2"
            "a\xFF");
}

TEST(TokenizerTraining, GivesTheSameFileEveryTime) {
  const std::string text = write_file("t.txt", read_bytes(shakespeare()).substr(0, 80000));
  const TokenizerTrainingOptions options{.inputs = {text}, .vocab_size = 500};
  const TrainedTokenizer a = train_tokenizer(options), b = train_tokenizer(options);
  EXPECT_EQ(a.file, b.file);
  EXPECT_GT(a.bytes_per_token, 1.8);
  EXPECT_EQ(a.text_bytes, a.used_bytes);
  const auto tokenizer = parse_sentencepiece(a.file, "a");
  EXPECT_EQ(tokenizer->vocab_size(), 500);
  const SpecialIds special = tokenizer->special_ids();
  EXPECT_EQ((std::vector<int32_t>{special.unk, special.bos, special.eos, special.pad}),
            (std::vector<int32_t>{0, 1, 2, 3}));
  for (const std::string awkward : {"caf\xC3\xA9  \n\n\tx", " \xE2\x96\x81\xFF", ""})
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(awkward)), awkward);
}

TEST(TokenizerTraining, SamplesLargeTextAndSaysSo) {
  std::string said;
  TokenizerTrainingOptions options{.inputs = {shakespeare()},
                                   .vocab_size = 400,
                                   .model = "bpe",
                                   .sample_bytes = 100000,
                                   .progress = [&](const std::string& what) { said += what; }};
  const TrainedTokenizer sampled = train_tokenizer(options);
  EXPECT_NEAR(static_cast<double>(sampled.used_bytes), 100000, 10000);
  EXPECT_NE(said.find("a sample of"), std::string::npos) << said;
  EXPECT_EQ(train_tokenizer(options).file, sampled.file);
}

// Lines with tabs, long lines and newlines are learned from, not dropped.
TEST(TokenizerTraining, LearnsFromAllOfTheText) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "\tindented\n";
  for (int i = 0; i < 3000; ++i) text += "endless ";
  const TrainedTokenizer trained =
      train_tokenizer({.inputs = {write_file("t.txt", text)}, .vocab_size = 290, .model = "bpe"});
  const auto tokenizer = parse_sentencepiece(trained.file, "trained");
  EXPECT_EQ(tokenizer->encode("\tindented\n").size(), 3u);
  EXPECT_LE(tokenizer->encode("endless ").size(), 2u);
}

TEST(TokenizerTraining, SaysWhichVocabularyWouldWork) {
  const std::string path = write_file("t.txt", "a few words, a few letters\n");
  for (const char* model : {"unigram", "bpe"})
    expect_error(ErrorKind::kData, {"4000 ids", "too high", "<= "},
                 [&] { train_tokenizer({.inputs = {path}, .vocab_size = 4000, .model = model}); });
  expect_error(ErrorKind::kData, {"smaller than required"}, [&] {
    train_tokenizer({.inputs = {path}, .vocab_size = 262, .character_coverage = 1.0});
  });
  expect_error(ErrorKind::kUsage, {"261"},
               [&] { train_tokenizer({.inputs = {path}, .vocab_size = 8}); });
  expect_error(ErrorKind::kMissingInput, {"none.txt"},
               [] { train_tokenizer({.inputs = {"/none.txt"}, .vocab_size = 400}); });
  expect_error(ErrorKind::kData, {"holds no text"},
               [] { train_tokenizer({.inputs = {write_file("e.txt", "")}, .vocab_size = 400}); });
}

}  // namespace
}  // namespace orthant
