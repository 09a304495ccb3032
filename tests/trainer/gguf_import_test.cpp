// SPDX-License-Identifier: Apache-2.0
// A GGUF file is the model that the folder is which it was made of: tensors, configuration and
// tokenizer; what it has besides is refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <random>

#include "base/config/config.h"
#include "data/sentencepiece.h"
#include "data/tokenizer_json.h"
#include "data/tokenizer_training.h"
#include "tests/data/files.h"
#include "tests/trainer/gguf_testing.h"
#include "tests/trainer/hub_model_testing.h"
#include "trainer/hub/gguf_model.h"
#include "trainer/hub/gguf_pieces.h"
#include "trainer/hub/hub_model.h"
#include "trainer/hub/import.h"
#include "trainer/saved_model.h"

namespace orthant::testing {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr const char* kStories = ORTHANT_SOURCE_DIR "/tests/data/stories260k";
constexpr const char* kTokenizers = ORTHANT_SOURCE_DIR "/tests/golden/tokenizers/";

std::string path() { return test_folder() + "/model.gguf"; }
std::string put(const GgufFile& file) { return write_bytes(path(), file.bytes()); }

std::string model_yaml(const HubModel& model) {
  RunConfig config = model.hub().config;
  config.run.name = config.data.tokenizer = "same";
  if (!config.model.use_sliding_window) {  // else these say nothing
    config.model.layer_types = {};
    config.model.max_window_layers = 0;
  }
  return to_yaml(config);
}

TEST(GgufImport, IsTheFolderThatItWasMadeOf) {
  for (const char* name :
       {"llama", "llama3_rope_tied", "llama_yarn", "mixtral", "qwen2", "qwen3"}) {
    SCOPED_TRACE(name);
    const std::string folder = test_folder() + "/" + name;
    write_golden_folder_f32(name, folder);
    const HubModel want(folder), got(put(gguf_of_golden(name)));
    EXPECT_EQ(model_yaml(got), model_yaml(want));
    ASSERT_EQ(got.tensors().size(), want.tensors().size());
    for (size_t i = 0; i < want.tensors().size(); ++i) {
      EXPECT_EQ(got.tensors()[i].name, want.tensors()[i].name);
      EXPECT_EQ(got.tensors()[i].dtype, want.tensors()[i].dtype);
      EXPECT_TRUE(got.read(got.tensors()[i]) == want.read(want.tensors()[i]))
          << want.tensors()[i].name;
    }
  }
}

TEST(GgufImport, BecomesARunThatWritesOn) {
  put(gguf_of_golden("llama"));
  const ImportResult result =
      import_model({.folder = test_folder(), .run_dir = test_folder() + "/run"});
  EXPECT_EQ(result.tensors, 30);
  const SavedModel saved = load_saved_model("test", test_folder() + "/run", "");
  EXPECT_EQ(saved.begin, std::vector<int32_t>{1});
  EXPECT_EQ(saved.end_ids, std::vector<int32_t>{2});
  EXPECT_EQ(saved.config.precision, DType::kF32);
}

// Files as PyPI's gguf writes them: quantised, with a tokenizer of each kind.
TEST(GgufImport, FilesOfTheReferenceWriter) {
  for (const auto& [name, type, ids] :
       {std::tuple{"tiny_llama", "llama", std::vector<int32_t>{1, 263, 265, 262}},
        {"tiny_mixtral", "mixtral", {257, 67, 199, 258, 69}}}) {
    SCOPED_TRACE(name);
    const HubModel model(concat(ORTHANT_SOURCE_DIR "/tests/golden/gguf/", name, ".gguf"));
    EXPECT_EQ(model.hub().config.model.model_type, type);
    for (const ImportTensor& tensor : model.tensors())
      EXPECT_EQ(model.read(tensor).size(),
                static_cast<size_t>(tensor.shape.numel() * size_of(tensor.dtype)));
    const auto tokenizer = model.published().tokenizer();
    const auto& sequences = dynamic_cast<const SequenceTokenizer&>(*tokenizer);
    EXPECT_EQ(sequences.encode_sequence(type == std::string("llama") ? "abcc" : "abc\n abe"), ids);
  }
}

TEST(GgufImport, TypesOfTensorsSayThePrecision) {
  for (const auto& [type, dtype] : {std::pair{1U, DType::kF32}, {30U, DType::kBF16}}) {
    GgufFile file = gguf_of_golden("llama");
    GgufFile::Tensor& tensor = file["token_embd.weight"];
    tensor.type = type;
    tensor.data.resize(tensor.data.size() / 2);
    const HubModel model(put(file));
    EXPECT_EQ(model.hub().config.precision, dtype);
    EXPECT_EQ(model.tensors().front().dtype, dtype);
    EXPECT_EQ(model.read(model.tensors().front()).size(), 517U * 40 * (type == 1 ? 4 : 2));
  }
}

// Texts with what splits, merges and bytes could get wrong.
std::vector<std::string> texts() {
  std::vector<std::string> texts = {
      "",
      " ",
      "  ",
      "Hello, world!",
      "  two  spaces ",
      "a\n\nb\r\n\tc",
      "1234567 12,345.67 x1y22z333",
      "I'm you've IT'S we'LL",
      "caf\xC3\xA9 na\xC3\xAFve",
      "\xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x98\x80\xF0\x9F\x91\x8D",
      "a\xCC\x81 e\xCC\x81",
      "<|endoftext|>a<|im_start|>user\nb<|im_end|>",
      "<s>x</s><unk>y",
      "<0x0A>",
      "a\xC2\xA0"
      "b",
      "    for (int i = 0; i < 10; ++i) {\n\treturn x[i] != 0;\n    }\n"};
  const std::string plays =
      read_bytes(ORTHANT_SOURCE_DIR "/tests/data/shakespeare.txt").substr(0, 60000);
  texts.push_back(plays);
  std::mt19937 draw(5);
  constexpr const char* kBits[] = {"a",  "e",        "t",   " ",   "  ", "\n", "1", "23", ".",
                                   "'s", "\xC3\xA9", "The", "ing", "aa", "th", "o", "s",  "an"};
  for (int i = 0; i < 500; ++i) {
    std::string& text = texts.emplace_back();
    for (auto k = draw() % 40; k > 0; --k) text += kBits[draw() % std::size(kBits)];
  }
  return texts;
}

std::unique_ptr<SequenceTokenizer> tokenizer_of(const GgufFile& file) {
  const GgufReader reader(put(file));
  return parse_tokenizer_json({.tokenizer = gguf_tokenizer(reader),
                               .config = gguf_tokenizer_config(reader),
                               .label = "model.gguf"});
}

TEST(GgufImport, ByteLevelTokenizersAreTheOriginals) {
  for (const auto& [name, pre] : {std::pair{"gpt2", "gpt-2"},
                                  {"smollm2", "smollm"},
                                  {"llama3", "llama-bpe"},
                                  {"qwen3", "qwen2"}}) {
    SCOPED_TRACE(name);
    const std::string json = read_bytes(concat(kTokenizers, name, ".json"));
    const auto want = parse_tokenizer_json({.tokenizer = json, .config = "", .label = name});
    GgufFile file = gguf_of_golden("llama");
    add_byte_level(Json::parse(json), pre, file);
    file.erase("llama.vocab_size");
    file["token_embd.weight"].dims = {40, 1100};
    file["token_embd.weight"].data.resize(1100 * 40 * sizeof(float));
    for (const auto& [key, id] :
         {std::pair{"bos", want->special_ids().bos}, {"eos", want->special_ids().eos}})
      if (id >= 0) {
        file.set(concat("tokenizer.ggml.", key, "_token_id"), gguf_u32(static_cast<uint32_t>(id)));
      } else {
        file.erase(concat("tokenizer.ggml.", key, "_token_id"));
      }
    const auto got = tokenizer_of(file);
    ASSERT_EQ(got->vocab_size(), want->vocab_size());
    for (int32_t id = 0; id < want->vocab_size(); ++id)
      EXPECT_EQ(got->token_text(id), want->token_text(id)) << id;
    for (const std::string& text : texts()) {
      EXPECT_EQ(got->encode(text), want->encode(text)) << text;
      EXPECT_EQ(got->encode_sequence(text), want->encode_sequence(text)) << text;
    }
  }
}

void expect_ids_of_sentencepiece(const std::string& model, bool begins_with_space) {
  GgufFile file = gguf_of_golden("llama");
  add_pieces(model, file);
  file.set("tokenizer.ggml.add_space_prefix", gguf_bool(begins_with_space));
  const auto got = tokenizer_of(file);
  const auto want = parse_sentencepiece(model, "tokenizer.model");
  ASSERT_EQ(got->vocab_size(), want->vocab_size());
  EXPECT_EQ(got->special_ids().bos, want->special_ids().bos);
  EXPECT_EQ(got->special_ids().eos, want->special_ids().eos);
  for (const std::string& text : texts()) {
    if (text.empty()) continue;
    const std::vector<int32_t> ids = want->encode(text);
    EXPECT_EQ(got->encode(text), ids) << text;
    EXPECT_EQ(got->decode(ids), want->decode(ids)) << text;
  }
}

TEST(GgufImport, PiecesWithScoresAreSentencePiecesOwn) {
  expect_ids_of_sentencepiece(read_bytes(std::string(kStories) + "/tokenizer.model"), true);
  expect_ids_of_sentencepiece(
      train_tokenizer({.inputs = {ORTHANT_SOURCE_DIR "/tests/data/shakespeare.txt"},
                       .vocab_size = 3000,
                       .model = "bpe"})
          .file,
      false);
}

TEST(GgufImport, PiecesWithOneScoreAreRefused) {
  const std::vector<ScoredPiece> pieces = {
      {"aba", -4}, {"a", -1}, {"b", -1}, {"ba", -3}, {"ab", -2}};
  using Merges = std::vector<std::pair<std::string_view, std::string_view>>;
  EXPECT_EQ(merges_of_pieces(pieces, "f"),
            (Merges{{"a", "b"}, {"b", "a"}, {"ab", "a"}, {"a", "ba"}}));
  std::vector<ScoredPiece> tied = pieces;
  tied[3].score = -2;
  expect_error(ErrorKind::kConfig, {"f: pieces 'ba' and 'ab' have one score, -2"},
               [&] { merges_of_pieces(tied, "f"); });
}

TEST(GgufImport, FilesOfAFolderAreMadeOfTheMetadata) {
  GgufFile file = gguf_of_golden("llama");
  file.set("tokenizer.chat_template", gguf_string("{{ bos_token }}\n\"\xC3\xA9\""));
  file.set("tokenizer.ggml.eot_token_id", gguf_u32(7));
  file.set("tokenizer.ggml.add_bos_token", gguf_bool(false));
  const PublishedModel model = open_published(put(file));
  const Json config = Json::parse(model.files.at("tokenizer_config.json"));
  EXPECT_EQ(config["chat_template"], "{{ bos_token }}\n\"\xC3\xA9\"");
  EXPECT_EQ(config["bos_token"], "<s>");
  EXPECT_EQ(config["eos_token"], "</s>");
  EXPECT_EQ(config["add_bos_token"], false);
  EXPECT_EQ(Json::parse(model.files.at("generation_config.json"))["eos_token_id"], Json({2, 7}));
  EXPECT_EQ(Json::parse(model.files.at("config.json"))["eos_token_id"], 2);
  file.set("tokenizer.chat_templates", gguf_texts({"tool_use"}));
  file.set("tokenizer.chat_template.tool_use", gguf_string("t"));
  const PublishedModel two = open_published(put(file));
  const Json named = Json::parse(two.files.at("tokenizer_config.json"))["chat_template"];
  EXPECT_EQ(named[0]["name"], "default");
  EXPECT_EQ(named[1]["template"], "t");
}

struct Fault {
  const char* what;
  ErrorKind kind;
  std::vector<std::string> words;
  std::function<void(GgufFile&)> spoil;
  const char* golden = "llama";
};

const std::vector<Fault>& faults() {
  constexpr auto kData = ErrorKind::kData, kConfig = ErrorKind::kConfig;
  static const std::vector<Fault> all = {
      {"another architecture",
       kConfig,
       {"general.architecture: want one of llama, qwen2, qwen3, got 'gemma3'"},
       [](GgufFile& f) { f.set("general.architecture", gguf_string("gemma3")); }},
      {"no architecture",
       kData,
       {"general.architecture: is missing"},
       [](GgufFile& f) { f.erase("general.architecture"); }},
      {"one file of several",
       kConfig,
       {"split.count", "one of 3 files"},
       [](GgufFile& f) { f.set("split.count", gguf_u32(3)); }},
      {"a key nobody knows",
       kConfig,
       {"metadata llama.logit_scale: what it means is not built"},
       [](GgufFile& f) { f.set("llama.logit_scale", gguf_f32(2)); }},
      {"no width",
       kData,
       {"metadata llama.embedding_length: is missing"},
       [](GgufFile& f) { f.erase("llama.embedding_length"); }},
      {"a width of each layer",
       kData,
       {"llama.feed_forward_length: want a whole number, got a list of whole numbers"},
       [](GgufFile& f) {
         f.set("llama.feed_forward_length", gguf_numbers<uint32_t>(4, {53, 53, 53}));
       }},
      {"more layers with experts than tensors with them",
       kData,
       {"llama.block_count: want no more layers than the 3 tensors ffn_gate_exps, got 4"},
       [](GgufFile& f) { f.set("llama.block_count", gguf_u32(4)); },
       "mixtral"},
      {"more layers than tensors",
       kData,
       {"llama.block_count: want no more layers than the 30"},
       [](GgufFile& f) { f.set("llama.block_count", gguf_u32(2'000'000'000)); }},
      {"a layer less",
       kData,
       {"tensor blk.2.attn_norm.weight: is no part", "its metadata"},
       [](GgufFile& f) { f.set("llama.block_count", gguf_u32(2)); }},
      {"a layer more",
       kData,
       {"tensor blk.3.attn_q.weight", "is missing"},
       [](GgufFile& f) { f.set("llama.block_count", gguf_u32(4)); }},
      {"another width",
       kData,
       {"tensor token_embd.weight: want [517, 48] as its metadata says, got [517, 40]"},
       [](GgufFile& f) { f.set("llama.embedding_length", gguf_u32(48)); }},
      {"another vocabulary",
       kData,
       {"llama.vocab_size: is 500, but tensor token_embd.weight has"},
       [](GgufFile& f) { f.set("llama.vocab_size", gguf_u32(500)); }},
      {"heads of an odd width",
       kConfig,
       {"attention.key_length: want heads of an even width"},
       [](GgufFile& f) { f.set("llama.attention.key_length", gguf_u32(13)); }},
      {"values of another width",
       kConfig,
       {"llama.attention.value_length: want the width of a head, 14, got 16"},
       [](GgufFile& f) { f.set("llama.attention.value_length", gguf_u32(16)); }},
      {"heads that are turned in part",
       kConfig,
       {"rope.dimension_count: want the width of a head"},
       [](GgufFile& f) { f.set("llama.rope.dimension_count", gguf_u32(8)); }},
      {"no heads",
       kData,
       {"llama.attention.head_count", "more than 0"},
       [](GgufFile& f) { f.set("llama.attention.head_count", gguf_u32(0)); }},
      {"an epsilon that is none",
       kConfig,
       {"layer_norm_rms_epsilon: want more than 0, got nan"},
       [](GgufFile& f) { f.set("llama.attention.layer_norm_rms_epsilon", gguf_f32(NAN)); }},
      {"another scaling",
       kConfig,
       {"rope.scaling.type: want none, linear or yarn, got 'longrope'"},
       [](GgufFile& f) { f.set("llama.rope.scaling.type", gguf_string("longrope")); }},
      {"other rotary factors",
       kConfig,
       {"tensor rope_freqs.weight: its factors are not those"},
       [](GgufFile& f) { f["rope_freqs.weight"].data.replace(0, 4, raw(3.0F)); },
       "llama3_rope_tied"},
      {"rotary factors of another size",
       kData,
       {"rope_freqs.weight: want F32 [8], got F32 [4]"},
       [](GgufFile& f) {
         f["rope_freqs.weight"].dims = {4};
         f["rope_freqs.weight"].data.resize(16);
       },
       "llama3_rope_tied"},
      {"experts of another number",
       kData,
       {"tensor blk.0.ffn_gate_exps.weight: want one matrix for each of 5 experts"},
       [](GgufFile& f) { f.set("llama.expert_count", gguf_u32(5)); },
       "mixtral"},
      {"experts without end",
       kData,
       {"llama.expert_count: want at most 4096"},
       [](GgufFile& f) { f.set("llama.expert_count", gguf_u32(2'000'000'000)); },
       "mixtral"},
      {"experts of qwen2",
       kConfig,
       {"qwen2.expert_count", "not read"},
       [](GgufFile& f) { f.set("qwen2.expert_count", gguf_u32(4)); },
       "qwen2"},
      {"a tensor is missing",
       kData,
       {"tensor blk.1.ffn_up.weight [53, 40] is missing"},
       [](GgufFile& f) {
         std::erase_if(f.tensors, [](const auto& t) { return t.name == "blk.1.ffn_up.weight"; });
       }},
      {"a tensor too many",
       kData,
       {"tensor blk.1.attn_q.bias: is no part"},
       [](GgufFile& f) { f.add("blk.1.attn_q.bias", {56}, 0, std::string(224, '\0')); }},
      {"a tensor by both names",
       kData,
       {"tensor model.norm.weight is output_norm.weight by"},
       [](GgufFile& f) { f.add("model.norm.weight", {40}, 0, std::string(160, '\0')); }},
      {"no embedding",
       kData,
       {"tensor token_embd.weight: want a matrix, got none"},
       [](GgufFile& f) { f["token_embd.weight"].name = "embedding"; }},
      {"no tokenizer",
       kData,
       {"tokenizer.ggml.model: is missing"},
       [](GgufFile& f) { f.erase("tokenizer.ggml.model"); }},
      {"another tokenizer",
       kConfig,
       {"tokenizer.ggml.model: want gpt2 or llama, got 'bert'"},
       [](GgufFile& f) { f.set("tokenizer.ggml.model", gguf_string("bert")); }},
      {"words that are split otherwise",
       kConfig,
       {"tokenizer.ggml.pre: want one of gpt-2, smollm, llama-bpe", "got 'tekken'"},
       [](GgufFile& f) {
         f.set("tokenizer.ggml.model", gguf_string("gpt2"));
         f.set("tokenizer.ggml.pre", gguf_string("tekken"));
       }},
      {"a split that nobody names",
       kConfig,
       {"tokenizer.ggml.pre: is missing, so nothing says"},
       [](GgufFile& f) {
         f.set("tokenizer.ggml.model", gguf_string("gpt2"));
         f.erase("tokenizer.ggml.pre");
       }},
      {"no tokens",
       kData,
       {"tokenizer.ggml.tokens: want 1 to"},
       [](GgufFile& f) { f.set("tokenizer.ggml.tokens", gguf_texts({})); }},
      {"types of other tokens",
       kData,
       {"token_type: want one for each of 512 tokens, got 2"},
       [](GgufFile& f) {
         f.set("tokenizer.ggml.token_type", gguf_numbers<int32_t>(5, {1, 1}));
       }},
      {"a type of token nobody knows",
       kData,
       {"token_type: of token 0: want 1 to 6, got 9"},
       [](GgufFile& f) {
         f.set("tokenizer.ggml.token_type", gguf_numbers<int32_t>(5, std::vector<int32_t>(512, 9)));
       }},
      {"a token twice",
       kData,
       {"tokenizer.ggml.tokens: 'x' is there twice, as 0 and 1"},
       [](GgufFile& f) {
         f.set("tokenizer.ggml.tokens", gguf_texts(std::vector<std::string>(512, "x")));
       }},
      {"scores of other tokens",
       kData,
       {"tokenizer.ggml.scores: want one for each of 512"},
       [](GgufFile& f) { f.set("tokenizer.ggml.scores", gguf_numbers<float>(6, {1})); }},
      {"an end beyond the tokens",
       kData,
       {"eos_token_id: want the id of one of 512 tokens"},
       [](GgufFile& f) { f.set("tokenizer.ggml.eos_token_id", gguf_u32(512)); }},
      {"another end beyond the vocabulary",
       kData,
       {"tokenizer.ggml.eot_token_id: want an id of the vocabulary of 517, got 517"},
       [](GgufFile& f) { f.set("tokenizer.ggml.eot_token_id", gguf_u32(517)); }},
      {"a text that is changed first",
       kConfig,
       {"precompiled_charsmap", "not built"},
       [](GgufFile& f) {
         f.set("tokenizer.ggml.precompiled_charsmap", gguf_numbers<uint8_t>(0, {1}));
       }},
      {"spaces that are taken away",
       kConfig,
       {"remove_extra_whitespaces", "not built"},
       [](GgufFile& f) { f.set("tokenizer.ggml.remove_extra_whitespaces", gguf_bool(true)); }},
  };
  return all;
}

TEST(GgufImport, WhatDoesNotFitIsSaidByKeyAndTensor) {
  for (const Fault& fault : faults()) {
    SCOPED_TRACE(fault.what);
    GgufFile file = gguf_of_golden(fault.golden);
    fault.spoil(file);
    put(file);
    std::vector<std::string> words = fault.words;
    words.push_back("model.gguf");
    expect_error(fault.kind, words,
                 [&] { import_model({.folder = path(), .run_dir = test_folder() + "/run"}); });
    EXPECT_FALSE(std::filesystem::exists(test_folder() + "/run"));
  }
}

TEST(GgufImport, OneFileOfAFolderIsTakenAndOneOfSeveralIsAskedFor) {
  put(gguf_of_golden("llama"));
  write_file("other.gguf", "x");
  expect_error(ErrorKind::kMissingInput, {"has 2 GGUF files", "/model.gguf"},
               [] { open_published(test_folder()); });
  expect_error(ErrorKind::kData, {"other.gguf: is no GGUF file"},
               [] { open_published(test_folder() + "/other.gguf"); });
}

}  // namespace
}  // namespace orthant::testing
