// SPDX-License-Identifier: Apache-2.0
// What is wrong with a folder is said by file and tensor, and nothing is left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/trainer/hub_folder_testing.h"
#include "trainer/hub/export.h"
#include "trainer/hub/hub_model.h"
#include "trainer/hub/import.h"

namespace orthant::testing {
namespace {

using ::testing::HasSubstr;

TEST(HubImport, WeightsThatAreNoNumbersAreRefused) {
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
    for (const bool is_nan : {true, false}) {
      Folder folder;
      const Tensor weights = Tensor::zeros({53, 40}, dtype);
      // The largest exponent, and a digit behind it or none.
      const std::map<DType, uint64_t> infinity = {{DType::kF64, uint64_t{0x7FF} << 52},
                                                  {DType::kF32, 0x7F800000},
                                                  {DType::kBF16, 0xFF80},
                                                  {DType::kF16, 0x7C00}};
      const uint64_t bits = infinity.at(dtype) | (is_nan ? 1 : 0);
      const auto size = static_cast<size_t>(size_of(dtype));
      std::memcpy(static_cast<char*>(weights.data()) + 77 * size, &bits, size);
      folder[name] = weights;
      const std::string path = folder.write();
      expect_error(ErrorKind::kData, {"model.safetensors", name, "element 77", "NaN or infinite"},
                   [&] { import_model({.folder = path, .run_dir = run()}); });
      EXPECT_FALSE(std::filesystem::exists(run()));
    }
  }
}

// What is wrong, and words of the message.
struct Fault {
  const char* what;
  ErrorKind kind;
  std::vector<std::string> words;
  std::function<void(Folder&)> spoil = {};                   // before it is written
  std::function<void(const std::string& path)> damage = {};  // afterwards
};

void put(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}
std::string index_of(const Json& map) { return Json{{"weight_map", map}}.dump(); }

const std::vector<Fault>& faults() {
  static const std::string up = "model.layers.1.mlp.up_proj.weight";
  static const std::vector<Fault> all = {
      {"a tensor is missing",
       ErrorKind::kData,
       {up, "[53, 40] is missing"},
       [](Folder& f) { f.take(up); }},
      {"two are missing",
       ErrorKind::kData,
       {up, "model.norm.weight"},
       [](Folder& f) { f.take(up), f.take("model.norm.weight"); }},
      {"a tensor of another shape",
       ErrorKind::kData,
       {"model.safetensors", up, "want [53, 40]", "got [40, 53]"},
       [](Folder& f) {
         f[up] = Tensor::zeros({40, 53}, DType::kF32);
       }},
      {"a tensor of another rank",
       ErrorKind::kData,
       {up, "got [2120]"},
       [](Folder& f) { f[up] = Tensor::zeros({2120}, DType::kF32); }},
      {"a tensor too many",
       ErrorKind::kData,
       {"model.safetensors", "vision.patch", "no part"},
       [](Folder& f) { f["vision.patch"] = Tensor::zeros({2}, DType::kF32); }},
      {"a layer too many",
       ErrorKind::kData,
       {"model.layers.3.norm", "no part"},
       [](Folder& f) { f["model.layers.3.norm"] = Tensor::zeros({2}, DType::kF32); }},
      {"whole numbers as weights",
       ErrorKind::kData,
       {up, "got I8"},
       [](Folder& f) {
         f[up] = Tensor::zeros({53, 40}, DType::kI8);
       }},
      {"fp8 that no key speaks of",
       ErrorKind::kData,
       {up, "no quantization_config"},
       [](Folder& f) {
         f[up] = Tensor::zeros({53, 40}, DType::kF8E4M3);
       }},
      {"a head that is not tied",
       ErrorKind::kData,
       {"lm_head.weight", "is missing"},
       [](Folder& f) { f.take("lm_head.weight"); }},
      {"more layers than weights",
       ErrorKind::kData,
       {"model.layers.3.", "and 4 more"},
       [](Folder& f) { f.config["num_hidden_layers"] = 4; }},
      {"more layers than tensors",
       ErrorKind::kData,
       {"config.json: num_hidden_layers: want no more layers than the 30 tensors", "2000000000"},
       [](Folder& f) { f.config["num_hidden_layers"] = 2'000'000'000; }},
      {"more experts than anybody has",
       ErrorKind::kData,
       {"config.json: n_routed_experts: want at most 65536, got 2000000000"},
       [](Folder& f) {
         f.config["model_type"] = "mixtral";
         f.config["num_local_experts"] = 2'000'000'000;
         f.config["num_experts_per_tok"] = 2;
       }},
      {"another width",
       ErrorKind::kData,
       {"want [517, 48]", "got [517, 40]"},
       [](Folder& f) { f.config["hidden_size"] = 48; }},
      {"another number of KV heads",
       ErrorKind::kData,
       {"k_proj.weight", "want [56, 40]"},
       [](Folder& f) { f.config["num_key_value_heads"] = 4; }},
      {"a vocabulary below the tokenizer's",
       ErrorKind::kData,
       {"its tokenizer has 512 tokens", "vocabulary of 500"},
       [](Folder& f) {
         f.config["vocab_size"] = 500;
         f["model.embed_tokens.weight"] = Tensor::zeros({500, 40}, DType::kF32);
         f["lm_head.weight"] = Tensor::zeros({500, 40}, DType::kF32);
       }},
      {"a family that is not built",
       ErrorKind::kConfig,
       {"config.json:", "model_type", "gemma2 has", "soft caps"},
       [](Folder& f) { f.config["model_type"] = "gemma2"; }},
      {"a family nobody knows",
       ErrorKind::kConfig,
       {"what mamba9 implies", "not known here"},
       [](Folder& f) { f.config["model_type"] = "mamba9"; }},
      {"a key nobody knows",
       ErrorKind::kConfig,
       {"config.json:", "hidden_sise", "hidden_size"},
       [](Folder& f) { f.config["hidden_sise"] = 3; }},
      {"another activation",
       ErrorKind::kConfig,
       {"hidden_act", "gelu"},
       [](Folder& f) { f.config["hidden_act"] = "gelu"; }},
      {"a bias of the output",
       ErrorKind::kConfig,
       {"attention_bias", "not built"},
       [](Folder& f) { f.config["attention_bias"] = true; }},
      {"a size below 1",
       ErrorKind::kConfig,
       {"config.json:", "hidden_size", "-40"},
       [](Folder& f) { f.config["hidden_size"] = -40; }},
      {"a size that is a text",
       ErrorKind::kConfig,
       {"num_attention_heads", "'four'"},
       [](Folder& f) { f.config["num_attention_heads"] = "four"; }},
      {"heads that do not go together",
       ErrorKind::kConfig,
       {"config.json", "num_key_value_heads: 3 does not divide 4"},
       [](Folder& f) { f.config["num_key_value_heads"] = 3; }},
      {"a rotary scaling that is not built",
       ErrorKind::kConfig,
       {"rope_type", "longrope"},
       [](Folder& f) { f.config["rope_parameters"]["rope_type"] = "longrope"; }},
      {"quantised another way",
       ErrorKind::kConfig,
       {"quantization_config", "gptq"},
       [](Folder& f) {
         f.config["quantization_config"] = {{"quant_method", "gptq"}};
       }},
      {"no config.json",
       ErrorKind::kMissingInput,
       {"config.json", "is not there"},
       {},
       [](const std::string& path) { std::filesystem::remove(path + "/config.json"); }},
      {"half a config.json",
       ErrorKind::kConfig,
       {"config.json:"},
       {},
       [](const std::string& path) {
         const std::string text = read_bytes(path + "/config.json");
         put(path + "/config.json", text.substr(0, text.size() / 2));
       }},
      {"a config.json that is a list",
       ErrorKind::kConfig,
       {"config.json"},
       {},
       [](const std::string& path) { put(path + "/config.json", "[1, 2]"); }},
      {"no weights",
       ErrorKind::kMissingInput,
       {"has neither model.safetensors nor"},
       {},
       [](const std::string& path) { std::filesystem::remove(path + "/model.safetensors"); }},
      {"half a file of weights",
       ErrorKind::kData,
       {"model.safetensors"},
       {},
       [](const std::string& path) {
         std::filesystem::resize_file(path + "/model.safetensors", 40'000);
       }},
      {"an empty file of weights",
       ErrorKind::kData,
       {"model.safetensors"},
       {},
       [](const std::string& path) { put(path + "/model.safetensors", ""); }},
      {"a header of many exabytes",
       ErrorKind::kData,
       {"model.safetensors"},
       {},
       [](const std::string& path) {
         put(path + "/model.safetensors", std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F{}", 10));
       }},
      {"a header that is no JSON",
       ErrorKind::kData,
       {"model.safetensors"},
       {},
       [](const std::string& path) {
         put(path + "/model.safetensors", std::string("\x08\0\0\0\0\0\0\0garbage!", 16));
       }},
      {"a header that is nested for ever",
       ErrorKind::kData,
       {"model.safetensors"},
       {},
       [](const std::string& path) {
         put(path + "/model.safetensors",
             std::string("\x40\x9C\0\0\0\0\0\0", 8) + std::string(40'000, '['));
       }},
      {"a shard that is missing",
       ErrorKind::kMissingInput,
       {"other.safetensors: is missing"},
       {},
       [](const std::string& path) {
         put(path + "/model.safetensors.index.json",
             index_of({{"model.norm.weight", "other.safetensors"}}));
       }},
      {"an index with a tensor that is not there",
       ErrorKind::kData,
       {"tensor nowhere is not there"},
       {},
       [](const std::string& path) {
         put(path + "/model.safetensors.index.json", index_of({{"nowhere", "model.safetensors"}}));
       }},
      {"an index that leaves the folder",
       ErrorKind::kData,
       {"want a file of this folder"},
       {},
       [](const std::string& path) {
         put(path + "/model.safetensors.index.json", index_of({{"a", "../model.safetensors"}}));
       }},
      {"an index without its map",
       ErrorKind::kData,
       {"index.json", "weight_map"},
       {},
       [](const std::string& path) { put(path + "/model.safetensors.index.json", "{}"); }},
      {"an index that is cut off",
       ErrorKind::kData,
       {"index.json"},
       {},
       [](const std::string& path) {
         put(path + "/model.safetensors.index.json", "{\"weight_map\": {\"a");
       }},
      {"a tensor in two shards",
       ErrorKind::kData,
       {"copy.safetensors", "as well"},
       {},
       [](const std::string& path) {
         std::filesystem::copy_file(path + "/model.safetensors", path + "/copy.safetensors");
         put(path + "/model.safetensors.index.json",
             index_of({{"model.norm.weight", "model.safetensors"},
                       {"lm_head.weight", "copy.safetensors"}}));
       }},
      {"no tokenizer",
       ErrorKind::kMissingInput,
       {"tokenizer"},
       {},
       [](const std::string& path) { std::filesystem::remove(path + "/tokenizer.model"); }},
      {"a tokenizer that is none",
       ErrorKind::kData,
       {"tokenizer.model"},
       {},
       [](const std::string& path) { put(path + "/tokenizer.model", "nothing of the kind"); }},
      {"add_bos_token that is no yes or no",
       ErrorKind::kData,
       {"add_bos_token", "true or false"},
       {},
       [](const std::string& path) {
         put(path + "/tokenizer_config.json", "{\"add_bos_token\": 3}");
       }},
  };
  return all;
}

TEST(HubImport, WhatIsWrongIsSaidAndNothingIsLeftBehind) {
  EXPECT_GE(faults().size(), 40U);
  for (const Fault& fault : faults()) {
    SCOPED_TRACE(fault.what);
    Folder folder;
    if (fault.spoil) fault.spoil(folder);
    const std::string path = folder.write();
    if (fault.damage) fault.damage(path);
    try {
      import_model({.folder = path, .run_dir = run()});
      ADD_FAILURE() << "it was taken";
      std::filesystem::remove_all(run());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), fault.kind) << error.what();
      for (const std::string& word : fault.words) EXPECT_THAT(error.what(), HasSubstr(word));
    }
    EXPECT_FALSE(std::filesystem::exists(run()));
  }
}

TEST(HubImport, Fp8NeedsItsFactors) {
  Folder folder;
  folder.config["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {32, 16}}};
  folder["model.layers.1.mlp.up_proj.weight"] = Tensor::zeros({53, 40}, DType::kF8E4M3);
  expect_error(ErrorKind::kData, {"up_proj.weight_scale_inv", "want F32 [2, 3], got none"},
               [&] { import_model({.folder = folder.write(), .run_dir = run()}); });
}

TEST(HubImport, LayerTypesAreWhatIsBuilt) {
  Folder folder("glm4_moe_lite");
  folder.config["mlp_layer_types"] = {"dense", "dense", "sparse"};
  expect_error(ErrorKind::kConfig, {"mlp_layer_types", "first 1 layers"},
               [&] { HubModel{folder.write()}; });
  folder.config["mlp_layer_types"] = {"dense", "sparse", "sparse"};
  folder.config["rope_interleave"] = false;
  expect_error(ErrorKind::kConfig, {"rope_interleave", "want null or true"},
               [&] { HubModel{folder.write()}; });
}

TEST(HubImport, ARunIsNotOverwritten) {
  import_model({.folder = kStories, .run_dir = run()});
  expect_error(ErrorKind::kCannotWrite, {"is a run already"},
               [&] { import_model({.folder = kStories, .run_dir = run()}); });
  export_model({.model = run(), .folder = out()});
  expect_error(ErrorKind::kCannotWrite, {"is not empty"},
               [&] { export_model({.model = run(), .folder = out()}); });
}

}  // namespace
}  // namespace orthant::testing
