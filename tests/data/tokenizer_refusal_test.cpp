// SPDX-License-Identifier: Apache-2.0
// Files that are damaged, absurd, or ask for what is not built: one error, with file and path.
#include <functional>

#include "base/philox.h"
#include "tests/data/tokenizer_golden.h"

namespace orthant {
namespace {

using Json = nlohmann::json;

std::string file_of(const std::string& name) { return read_bytes(golden_path(name + ".json")); }

std::unique_ptr<SequenceTokenizer> parse(const std::string& content) {
  return parse_tokenizer_json({.tokenizer = content, .config = "", .label = "dir/t.json"});
}

void expect_refusal(const std::vector<std::string>& parts, const std::function<void(Json&)>& change,
                    const std::string& name = "smollm2") {
  Json root = Json::parse(file_of(name));
  change(root);
  std::vector<std::string> all = parts;
  all.push_back("dir/t.json: ");
  expect_error(ErrorKind::kData, all, [&] { parse(root.dump()); });
}

TEST(TokenizerRefusal, OfWhatIsNoJson) {
  const std::string whole = file_of("gpt2");
  for (const size_t size : {size_t{0}, size_t{1}, size_t{100}, whole.size() / 2, whole.size() - 5})
    expect_error(ErrorKind::kData, {"dir/t.json", "byte"}, [&] { parse(whole.substr(0, size)); });
  for (const std::string bracket : {"[", "{\"a\":"}) {
    std::string deep;
    for (int i = 0; i < 1000000; ++i) deep += bracket;
    expect_error(ErrorKind::kData, {"dir/t.json", "64"}, [&] { parse(deep); });
  }
  expect_error(ErrorKind::kData, {"dir/t.json"}, [&] { parse("{\"model\": \"\xff\"}"); });
  expect_error(ErrorKind::kData, {"dir/t.json: $", "object"}, [&] { parse("[]"); });
  expect_error(ErrorKind::kData, {"dir/t.json: $", "\"model\""}, [&] { parse("{}"); });
}

TEST(TokenizerRefusal, OfVocabulariesThatCannotBe) {
  expect_refusal({"$.model.vocab.a", "4194303"},
                 [](Json& r) { r["model"]["vocab"]["a"] = 4000000000u; });
  expect_refusal({"$.model.vocab.a"}, [](Json& r) { r["model"]["vocab"]["a"] = -1; });
  expect_refusal({"$.model.vocab.a"}, [](Json& r) { r["model"]["vocab"]["a"] = 1.5; });
  expect_refusal({"$.model.vocab", "is there twice"},
                 [](Json& r) { r["model"]["vocab"]["a"] = 300; });
  expect_refusal({"$.model.vocab", "object"}, [](Json& r) { r["model"]["vocab"] = Json::array(); });
  expect_refusal({"$.model", "\"vocab\""}, [](Json& r) { r["model"].erase("vocab"); });
  expect_refusal({"$.model.merges[0]", "nothing"},
                 [](Json& r) { r["model"]["merges"][0] = "nothing here"; });
  expect_refusal({"$.model.merges[3]", "space"}, [](Json& r) { r["model"]["merges"][3] = "abc"; });
  expect_refusal({"$.model.merges[3]", "pair"}, [](Json& r) { r["model"]["merges"][3] = 7; });
  expect_refusal({"$.model.merges", "array"}, [](Json& r) { r["model"]["merges"] = 7; });
  expect_refusal({"$.added_tokens[1]", "twice"}, [](Json& r) {
    r["added_tokens"][1]["id"] = 0;
    r["added_tokens"][1]["content"] = "<x>";
  });
  expect_refusal({"$.added_tokens[1]", "vocabulary"},
                 [](Json& r) { r["added_tokens"][1]["id"] = 5000; });
  expect_refusal({"$.added_tokens[1].id"}, [](Json& r) { r["added_tokens"][1]["id"] = 1u << 31; });
  expect_refusal({"$.added_tokens[0]", "\"content\""},
                 [](Json& r) { r["added_tokens"][0].erase("content"); });
  expect_refusal({"$.model.unk_token", "<none>"},
                 [](Json& r) { r["model"]["unk_token"] = "<none>"; });
  expect_refusal({"ends a document", "tokenizer_config.json"},
                 [](Json& r) { r["added_tokens"] = Json::array(); });
  expect_refusal(
      {"$.post_processor", "99999"},
      [](Json& r) {
        r["post_processor"]["processors"][1]["special_tokens"]["<|begin_of_text|>"]["ids"] = {
            99999};
      },
      "llama3");
}

TEST(TokenizerRefusal, OfPartsThatAreNotBuilt) {
  const auto named = [](const char* key, const Json& part, const std::string& path,
                        const std::string& what) {
    expect_refusal({path, "'" + what + "' is not supported"}, [&](Json& r) { r[key] = part; });
  };
  for (const char* type : {"WordPiece", "Unigram", "WordLevel"})
    expect_refusal({"$.model.type", type}, [&](Json& r) { r["model"]["type"] = type; });
  expect_refusal({"$.model.dropout"}, [](Json& r) { r["model"]["dropout"] = 0.1; });
  expect_refusal({"$.model.end_of_word_suffix", "</w>"},
                 [](Json& r) { r["model"]["end_of_word_suffix"] = "</w>"; });
  named("normalizer", {{"type", "Lowercase"}}, "$.normalizer.type", "Lowercase");
  named("normalizer",
        {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "Precompiled"}}}}},
        "$.normalizer.normalizers[1].type", "Precompiled");
  named("pre_tokenizer", {{"type", "BertPreTokenizer"}}, "$.pre_tokenizer.type",
        "BertPreTokenizer");
  named("post_processor", {{"type", "RobertaProcessing"}}, "$.post_processor.type",
        "RobertaProcessing");
  named("decoder", {{"type", "CTC"}}, "$.decoder.type", "CTC");
  expect_refusal(
      {"$.pre_tokenizer", "'first' with a Replace"},
      [](Json& r) {
        r["normalizer"] =
            Json::parse(R"({"type": "Replace", "pattern": {"String": "a"}, "content": "b"})");
      },
      "metaspace");
  expect_refusal({"$.decoder", "null"}, [](Json& r) { r["decoder"] = nullptr; });
  expect_refusal({"$.pre_tokenizer.pretokenizers[2]", "behind ByteLevel"}, [](Json& r) {
    r["pre_tokenizer"]["pretokenizers"].push_back({{"type", "Digits"}});
  });
  expect_refusal({"$.pre_tokenizer.pretokenizers[1]", "add_prefix_space"}, [](Json& r) {
    r["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true;
  });
}

// What PCRE2 would read otherwise than Oniguruma, or that looks back.
TEST(TokenizerRefusal, OfExpressions) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[\\p{L}&&[^\\p{Han}]]+", "&& in a class"},
      {"[a[bc]]", "[ in a class"},
      {"[[:alpha:]]", "[ in a class"},
      {"\\w+", "\\w"},
      {"a\\b", "\\b"},
      {"\\h", "\\h"},
      {"^a", "^"},
      {"a$", "$"},
      {"(?<=a)b", "(?<="},
      {"(?<n>a)", "(?<n"},
      {"(?i)a", "(?i)"},
      {"\\p{N}{1,3}+", "{1,3}+"},
      {"a{,3}", "{,"},
      {"a{2}?", "{2}?"},
      {"\\p{Emoji}", "\\p{Emoji}"},
      {"\\xff", "\\xff"},
      {"(a)\\1", "\\1"},
      {"[]a]", "[]"},
      {"\\", "\\"},
      {"(*ACCEPT)a", "(*AC"},
      {"\\pL", "\\pL"},
      {"[\\P{L}a]", "\\P{L} in a class"}};
  for (const auto& [expression, what] : cases)
    expect_refusal({"$.pre_tokenizer.pattern.Regex", "'" + what, "not supported"}, [&](Json& r) {
      r["pre_tokenizer"] = {
          {"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}};
    });
  for (const std::string expression : {"(a", "[a", "a**b)", "a{3,2}", "x*", ""})
    expect_refusal({"$.pre_tokenizer.pattern.Regex"}, [&](Json& r) {
      r["pre_tokenizer"] = {
          {"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}};
    });
}

// Files with a few bytes changed, removed or repeated either work or are refused.
TEST(TokenizerRefusal, NothingElseComesOfDamage) {
  const PhiloxKey key = make_key(1, RandomPurpose::kTest, "damage");
  int refused = 0;
  for (const std::string name : {"odd", "llama2", "llama3"}) {
    Json root = Json::parse(file_of(name));
    Json& merges = root["model"]["merges"];
    merges.erase(merges.begin() + 12, merges.end());
    const std::string whole = root.dump();
    for (uint64_t i = 0; i < 700; ++i) {
      std::string file = whole;
      for (uint64_t j = 0; j <= i % 3; ++j) {
        const auto draw = philox(key, i, j);
        // The vocabulary is most of the file: half of the damage is done to the rest.
        const size_t begin = draw.x[3] % 2 == 0 ? 0 : file.find("\"normalizer\"");
        const size_t at = begin + draw.x[0] % (file.size() - begin);
        const size_t size = 1 + draw.x[1] % 6;
        if (draw.x[2] % 4 == 0) file.erase(at, size);
        if (draw.x[2] % 4 == 1) file.insert(at, file.substr(draw.x[1] % file.size(), size * 4));
        if (draw.x[2] % 4 == 2) file[at] = static_cast<char>(draw.x[1] >> 8);
        if (draw.x[2] % 4 == 3) file[at] = "0123456789[]{}\",:-"[draw.x[1] % 18];
      }
      try {
        const auto tokenizer = parse(file);
        tokenizer->decode(tokenizer->encode_with_added("Hello <s> world \xE4\xBD\xA0 12\xff"));
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kData) << error.what();
        EXPECT_NE(std::string(error.what()).find("dir/t.json"), std::string::npos) << error.what();
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 700);
  EXPECT_LT(refused, 2090);
}

}  // namespace
}  // namespace orthant
