// SPDX-License-Identifier: Apache-2.0
// PEFT folders that are damaged, of a kind that is not built, or of another model: one error that
// names file and key or tensor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "base/error.h"
#include "tests/trainer/peft_testing.h"

namespace orthant::testing {
namespace {

using Spoil = std::function<void(AdapterFolder&)>;
using SpoilFiles = std::function<void(const std::string& path)>;

struct Case {
  std::string what;
  ErrorKind kind;
  std::vector<std::string> says;
  Spoil spoil;
  SpoilFiles spoil_files = {};
};

constexpr const char* kLayer = "base_model.model.model.layers.1.";
std::string layer(const std::string& name) { return kLayer + name; }

Spoil key(const std::string& name, const Json& value) {
  return [=](AdapterFolder& f) { f.config[name] = value; };
}

std::vector<Case> dense_cases() {
  const ErrorKind data = ErrorKind::kData;
  return {
      {"no weights",
       ErrorKind::kMissingInput,
       {"adapter_model.safetensors", "is not there"},
       {},
       [](const std::string& p) { std::filesystem::remove(p + "/adapter_model.safetensors"); }},
      {"pickled weights",
       data,
       {"adapter_model.bin", "pickled"},
       {},
       [](const std::string& p) {
         std::filesystem::rename(p + "/adapter_model.safetensors", p + "/adapter_model.bin");
       }},
      {"half a configuration",
       data,
       {"adapter_config.json"},
       {},
       [](const std::string& p) { std::filesystem::resize_file(p + "/adapter_config.json", 30); }},
      {"half the weights",
       data,
       {"adapter_model.safetensors"},
       {},
       [](const std::string& p) {
         std::filesystem::resize_file(p + "/adapter_model.safetensors", 5000);
       }},
      {"a configuration that is a list",
       data,
       {"want a JSON object"},
       [](AdapterFolder& f) { f.config = Json::array({1}); }},
      {"another method", data, {"peft_type", "want LORA", "LOHA"}, key("peft_type", "LOHA")},
      {"no method", data, {"peft_type", "got none"}, key("peft_type", nullptr)},
      {"biases that train", data, {"bias", "lora_only"}, key("bias", "lora_only")},
      {"DoRA beside the head", data, {"use_dora", "lm_head", "not built"}, key("use_dora", true)},
      {"DoRA without magnitudes",
       data,
       {"down_proj.lora_magnitude_vector", "is missing"},
       [](AdapterFolder& f) {
         f.config["use_dora"] = true;
         f.take("base_model.model.lm_head.lora_A.weight");
         f.take("base_model.model.lm_head.lora_B.weight");
       }},
      {"QALoRA", data, {"use_qalora", "not built"}, key("use_qalora", true)},
      {"activated LoRA",
       data,
       {"alora_invocation_tokens"},
       key("alora_invocation_tokens", Json::array({1, 2}))},
      {"EVA", data, {"init_lora_weights", "eva"}, key("init_lora_weights", "eva")},
      {"PiSSA, whose base is another",
       data,
       {"init_lora_weights", "pissa"},
       key("init_lora_weights", "pissa")},
      {"biases of adapters", data, {"lora_bias"}, key("lora_bias", true)},
      {"layers that are repeated",
       data,
       {"layer_replication"},
       key("layer_replication", Json::array({Json::array({0, 2})}))},
      {"single tokens that train",
       data,
       {"trainable_token_indices"},
       key("trainable_token_indices", Json::array({3}))},
      {"a key of a later version", data, {"use_magic", "not built", "7"}, key("use_magic", 7)},
      {"a pattern that is none",
       data,
       {"rank_pattern", "(q_proj"},
       key("rank_pattern", Json{{"(q_proj", 2}})},
      {"no rank", data, {"r: want a rank of 1 or more"}, key("r", 0)},
      {"a rank that is a text", data, {"adapter_config.json: r"}, key("r", "three")},
      {"an alpha below 0", data, {"lora_alpha", "-1"}, key("lora_alpha", -1)},
      {"dropout of everything", data, {"lora_dropout", "1.5"}, key("lora_dropout", 1.5)},
      {"another rank than the tensors have",
       data,
       {"lm_head.lora_A.weight", "want 4 rows"},
       key("r", 4)},
      {"half a pair",
       data,
       {"v_proj.lora_A.weight", "without", "lora_B"},
       [](AdapterFolder& f) { f.take(layer("self_attn.v_proj.lora_B.weight")); }},
      {"the shape of another model",
       data,
       {"o_proj.lora_B.weight", "want [40, 3]", "got [39, 3]"},
       [](AdapterFolder& f) {
         f[layer("self_attn.o_proj.lora_B.weight")] = Tensor::zeros({39, 3}, DType::kF32);
       }},
      {"a layer that the model lacks",
       data,
       {"layers.7.self_attn", "no module of the model"},
       [](AdapterFolder& f) {
         f["base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"] =
             Tensor::zeros({3, 40}, DType::kF32);
       }},
      {"DoRA's magnitudes",
       data,
       {"lora_magnitude_vector", "no module"},
       [](AdapterFolder& f) {
         f[layer("self_attn.q_proj.lora_magnitude_vector")] = Tensor::zeros({56}, DType::kF32);
       }},
      {"whole numbers",
       data,
       {"q_proj.lora_A.weight", "want F64, F32, F16 or BF16"},
       [](AdapterFolder& f) {
         f[layer("self_attn.q_proj.lora_A.weight")] =
             Tensor::from_i32({3, 40}, std::vector<int32_t>(120));
       }},
      {"NaN",
       data,
       {"q_proj.lora_B.weight", "NaN"},
       [](AdapterFolder& f) {
         f[layer("self_attn.q_proj.lora_B.weight")].as<double>()[5] =
             std::numeric_limits<double>::quiet_NaN();
       }},
      {"a saved module without tensors",
       data,
       {"modules_to_save", "norm"},
       key("modules_to_save", Json::array({"norm"}))},
      {"no adapter", data, {"holds no adapter"}, [](AdapterFolder& f) { f.tensors.clear(); }},
  };
}

std::vector<Case> expert_cases() {
  const ErrorKind data = ErrorKind::kData;
  const std::string experts = layer("mlp.experts");
  return {
      {"other experts",
       data,
       {"experts.lora_A.weight", "want 12 rows", "got [10, 22]"},
       [=](AdapterFolder& f) {
         f[experts + ".lora_A.weight"] = Tensor::zeros({10, 22}, DType::kF32);
       }},
      {"experts of another width",
       data,
       {"experts.lora_B.weight", "want [40, 12]"},
       [=](AdapterFolder& f) {
         f[experts + ".lora_B.weight"] = Tensor::zeros({41, 12}, DType::kF32);
       }},
      {"half a pair of experts",
       data,
       {"experts.base_layer.lora_B.weight", "without"},
       [=](AdapterFolder& f) { f.take(experts + ".base_layer.lora_A.weight"); }},
      {"experts twice",
       data,
       {"mlp.experts.0.down_proj has two adapters"},
       [=](AdapterFolder& f) {
         f[experts + ".0.down_proj.lora_A.weight"] = Tensor::zeros({2, 22}, DType::kF32);
         f[experts + ".0.down_proj.lora_B.weight"] = Tensor::zeros({40, 2}, DType::kF32);
       }},
  };
}

void expect_errors(const std::string& adapter, const std::vector<Case>& cases) {
  const RunConfig model = AdapterFolder(adapter).import_base();
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    AdapterFolder folder(adapter);
    if (c.spoil) c.spoil(folder);
    const std::string path = folder.write();
    if (c.spoil_files) c.spoil_files(path);
    try {
      const StoredAdapter opened = open_peft_adapter(path, model);
      for (const auto& [name, shape] : opened.tensors) opened.read(name);
      ADD_FAILURE() << "was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), c.kind) << error.what();
      EXPECT_THAT(error.what(), ::testing::HasSubstr(path));
      for (const std::string& text : c.says) EXPECT_THAT(error.what(), ::testing::HasSubstr(text));
    }
  }
}

TEST(PeftFaults, OfAnyModelAreNamed) { expect_errors("llama", dense_cases()); }
TEST(PeftFaults, OfExpertsAreNamed) { expect_errors("qwen3_moe", expert_cases()); }

TEST(PeftFaults, OfExpertsApartAreNamed) {
  AdapterFolder folder("qwen3_moe");
  const RunConfig model = folder.import_base();
  take_experts_apart(folder, model);
  const auto expect = [&](const AdapterFolder& bad, const std::string& text) {
    try {
      open_peft_adapter(bad.write(), model);
      ADD_FAILURE() << "was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kData);
      EXPECT_THAT(error.what(), ::testing::HasSubstr(text));
    }
  };
  AdapterFolder lacks = folder;
  lacks.take(layer("mlp.experts.4.up_proj.lora_A.weight"));
  lacks.take(layer("mlp.experts.4.up_proj.lora_B.weight"));
  expect(lacks, "layers.1.mlp.experts.4.up_proj has no adapter, and another expert");
  AdapterFolder differs = folder;
  differs.config["alpha_pattern"] = {{"experts.4.up_proj", 9}};
  expect(differs, "another rank or alpha than another expert");
}

TEST(PeftFaults, OneOfTwoTiedWeightsIsNotReplaced) {
  AdapterFolder folder("llama");
  folder.golden["model"] = "llama3_rope_tied";
  const RunConfig model = folder.import_base();
  std::erase_if(folder.tensors, [](const auto& t) {
    return t.first.find("q_proj") == std::string::npos && t.first.find("down") == std::string::npos;
  });
  for (auto& [name, tensor] : folder.tensors)
    if (name.ends_with("q_proj.lora_B.weight")) tensor = Tensor::zeros({64, 3}, DType::kF32);
  open_peft_adapter(folder.write(), model);
  folder["base_model.model.lm_head.weight"] = Tensor::zeros({517, 40}, DType::kF32);
  EXPECT_THROW(open_peft_adapter(folder.write(), model), Error);
}

}  // namespace
}  // namespace orthant::testing
