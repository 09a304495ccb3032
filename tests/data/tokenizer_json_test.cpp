// SPDX-License-Identifier: Apache-2.0
#include "data/tokenizer_json.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/text.h"
#include "data/tokenizer_files.h"
#include "tests/data/tokenizer_golden.h"

namespace orthant {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

// ids and texts of PyPI's `tokenizers` (make.py beside the files).
TEST(TokenizerJson, EncodesAndDecodesAsTheLibraryDoes) {
  const Json& golden = golden_texts();
  const std::vector<std::string> texts = golden["texts"];
  ASSERT_GE(texts.size(), 400u);
  for (const std::string& name : kGoldenTokenizers) {
    const auto tokenizer = golden_tokenizer(name);
    const Json& want = golden["tokenizers"][name];
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(tokenizer->encode(texts[i]), want["plain"][i].get<Ids>()) << name << texts[i];
      const Ids ids = tokenizer->encode_with_added(texts[i]);
      EXPECT_EQ(ids, want["special"][i].get<Ids>()) << name << ": " << texts[i];
      // The library gives unknown text as nothing, and so the sign for it; behind an end of
      // document it does not begin another one, which loses its dummy space.
      if (std::ranges::count(ids, tokenizer->special_ids().unk) > 0) continue;
      if (name == "llama2" && std::ranges::count(ids, tokenizer->end_of_document()) > 0) continue;
      EXPECT_EQ(tokenizer->decode(ids), want["decoded"][i].get<std::string>()) << name;
    }
    EXPECT_EQ(tokenizer->encode_sequence(texts.back()), want["sequence"].get<Ids>()) << name;
  }
}

// Parts that none of the files has, put into them.
TEST(TokenizerJson, EveryPartDoesAsTheLibrarys) {
  const std::vector<std::string> texts = golden_texts()["texts"];
  ASSERT_GE(golden_texts()["variants"].size(), 25u);
  for (const Json& variant : golden_texts()["variants"]) {
    Json root = Json::parse(read_bytes(golden_path(variant["file"].get<std::string>() + ".json")));
    root.update(variant["change"]);
    const auto tokenizer =
        parse_tokenizer_json({.tokenizer = root.dump(), .config = "", .label = "t.json"});
    for (size_t i = 0; i < variant["ids"].size(); ++i)
      EXPECT_EQ(tokenizer->encode_with_added(texts[200 + i]), variant["ids"][i].get<Ids>())
          << variant["change"] << ": " << texts[200 + i];
  }
}

TEST(TokenizerJson, GivesTextBackToTheByte) {
  for (const char* name : {"deepseek_v3", "llama3", "gpt2", "smollm2", "llama2"}) {
    const auto tokenizer = golden_tokenizer(name);
    for (const std::string text : golden_texts()["texts"]) {
      // Llama's has U+2581 for a space, and puts a space behind every added token.
      const bool is_lossy = text.find("\xE2\x96\x81") != std::string::npos ||
                            text.find("<tool_call>") != std::string::npos;
      if (std::string(name) == "llama2" && is_lossy) continue;
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << name;
    }
    for (const std::string text :
         {"\xff", "a\xC3", "\xED\xA0\x80 b", "\xF4\x90\x80\x80", "\xC0\x80 \xE2\x82"}) {
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << name;
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, true), true), text) << name;
    }
  }
}

TEST(TokenizerJson, TextThatSpellsASpecialTokenStaysText) {
  const auto tokenizer = golden_tokenizer("qwen3");
  const int32_t eos = tokenizer->end_of_document();
  const std::string text = "about <|endoftext|> and <think>";
  const Ids plain = tokenizer->encode(text), with_added = tokenizer->encode_with_added(text);
  EXPECT_EQ(std::ranges::count(plain, eos), 0);
  EXPECT_EQ(std::ranges::count(with_added, eos), 1);
  EXPECT_EQ(tokenizer->decode(plain), text);
  EXPECT_EQ(tokenizer->decode(with_added), "about  and <think>");
  EXPECT_EQ(plain.back(), with_added.back());  // <think> is not special: always a token
  EXPECT_EQ(tokenizer->token_text(plain.back()), "<think>");
}

TEST(TokenizerJson, AddedIdsMayHaveGaps) {
  const auto tokenizer = golden_tokenizer("llama3");
  const int32_t last = tokenizer->vocab_size() - 1;
  EXPECT_EQ(tokenizer->encode_with_added("<|reserved_special_token_7|>"), Ids{last});
  EXPECT_EQ(tokenizer->encode_with_added("<|eot_id|>"), Ids{last - 1});
  for (int32_t id = last - 8; id <= last; ++id) EXPECT_EQ(tokenizer->token_text(id), "");
  const int32_t outside = last + 1;
  expect_error(ErrorKind::kData, {std::to_string(outside)},
               [&] { tokenizer->decode(std::span(&outside, 1)); });
}

TEST(TokenizerJson, IsFoundInAFolder) {
  const std::string file = read_bytes(golden_path("gpt2.json"));
  const auto tokenizer = golden_tokenizer("gpt2");
  const Json root = Json::parse(file);
  std::string merges = "#version: 0.2\n";
  for (const std::string merge : root["model"]["merges"]) merges += merge + "\n";
  write_file("vocab.json", root["model"]["vocab"].dump());
  write_file("merges.txt", merges);
  const auto gpt2 = make_tokenizer(test_folder());
  EXPECT_EQ(gpt2->end_of_document(), tokenizer->end_of_document());
  for (const std::string text : golden_texts()["texts"])
    EXPECT_EQ(gpt2->encode_with_added(text), tokenizer->encode_with_added(text));
  ASSERT_EQ(gpt2->model_files().size(), 1u);  // as one file, which makes the same tokenizer
  EXPECT_EQ(make_tokenizer(write_file("made.json", gpt2->model_files()[0].content))->name(),
            gpt2->name());
  write_file("tokenizer.model",
             read_bytes(std::string(ORTHANT_SOURCE_DIR) + "/tests/golden/sentencepiece/bpe.model"));
  EXPECT_TRUE(make_tokenizer(test_folder())->name().starts_with("sentencepiece:"));
  write_file("tokenizer.json", file);
  EXPECT_EQ(make_tokenizer(test_folder())->name(), tokenizer->name());
  EXPECT_TRUE(tokenizer->name().starts_with("tokenizer.json:"));
  expect_error(ErrorKind::kMissingInput, {"merges.txt"}, [] { make_tokenizer("/tmp"); });
  expect_error(ErrorKind::kMissingInput, {"none.json"}, [] { make_tokenizer("/none.json"); });
}

TEST(TokenizerJson, SpecialIdsComeFromTheConfigBesideIt) {
  const std::string path = write_file("tokenizer.json", read_bytes(golden_path("qwen3.json")));
  const auto by_name = make_tokenizer(path);
  EXPECT_EQ(by_name->special_ids().bos, -1);
  const std::string config =
      write_file("tokenizer_config.json",
                 R"({"eos_token": {"content": "<|im_end|>"}, "bos_token": "<|im_start|>", )"
                 R"("pad_token": null})");
  const auto by_config = make_tokenizer(path);
  EXPECT_EQ(by_config->end_of_document(), by_name->end_of_document() + 2);
  EXPECT_EQ(by_config->special_ids().bos, by_name->end_of_document() + 1);
  EXPECT_EQ(by_config->special_ids().pad, -1);
  EXPECT_EQ(by_config->name(), by_name->name());
  ASSERT_EQ(by_config->model_files().size(), 2u);
  EXPECT_EQ(by_config->model_files()[1].name, "tokenizer_config.json");
  EXPECT_EQ(by_config->model_files()[1].content, read_bytes(config));
  write_file("tokenizer_config.json", R"({"eos_token": "<nothing>"})");
  expect_error(ErrorKind::kData, {"tokenizer_config.json: $.eos_token", "<nothing>"},
               [&] { make_tokenizer(path); });
}

// The steps of a heap, not those of looking at every pair again.
TEST(TokenizerJson, AMegabyteOfOneLetterIsNotQuadratic) {
  const auto tokenizer = golden_tokenizer("llama3");
  for (const std::string part : {"a", " ", "\n", "=", "1", "ab"}) {
    std::string text;
    while (text.size() < 1000000) text += part;
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20)) << part;
  }
}

TEST(TokenizerJson, ServesSeveralThreads) {
  const auto tokenizer = golden_tokenizer("deepseek_v3");
  const std::vector<std::string> texts = golden_texts()["texts"];
  std::vector<std::vector<Ids>> got(3);
  std::vector<std::thread> threads;
  for (auto& ids : got)
    threads.emplace_back([&] {
      for (const std::string& text : texts) ids.push_back(tokenizer->encode(text));
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < texts.size(); ++i)
    for (const auto& ids : got) EXPECT_EQ(ids[i], tokenizer->encode(texts[i]));
}

}  // namespace
}  // namespace orthant
