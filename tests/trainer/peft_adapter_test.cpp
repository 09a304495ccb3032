// SPDX-License-Identifier: Apache-2.0
// What a PEFT folder's tensors stand for, in every layout that they come in.
#include "trainer/hub/peft_adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "checkpoint/reader.h"
#include "model/hub/peft_tensors.h"
#include "tests/trainer/peft_testing.h"
#include "trainer/adapters.h"
#include "trainer/hub/hub_model.h"

namespace orthant::testing {
namespace {

void expect_same(const StoredAdapter& a, const StoredAdapter& b) {
  ASSERT_EQ(a.tensors, b.tensors);
  const LoraRules rules_a(a.lora), rules_b(b.lora);
  for (const auto& [name, shape] : a.tensors) {
    EXPECT_EQ(a.read(name).to_doubles(), b.read(name).to_doubles()) << name;
    const auto rule_a = rules_a.of(module_of(name)), rule_b = rules_b.of(module_of(name));
    ASSERT_TRUE(rule_a && rule_b) << name;
    EXPECT_EQ(rule_a->rank, rule_b->rank) << name;
    EXPECT_NEAR(rule_a->scale, rule_b->scale, 1e-12) << name;
  }
}

class AnyAdapter : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Families, AnyAdapter, ::testing::ValuesIn(kGoldenAdapters),
                         [](const auto& info) { return info.param; });

TEST_P(AnyAdapter, ItsRulesGiveAdaptersWhereTheFolderHasThemAlone) {
  AdapterFolder folder(GetParam());
  const RunConfig model = folder.import_base();
  const StoredAdapter adapter = open_peft_adapter(folder.write(), model);
  const LoraRules rules(adapter.lora);
  for (const auto& [name, shape] : logical_tensors(model)) {
    const std::string module = module_of(name);
    const bool has = adapter.tensors.contains(module + ".lora_A.weight");
    const std::optional<LoraRule> rule = rules.of(module);
    ASSERT_EQ(rule.has_value(), has) << module;
    if (!has) continue;
    EXPECT_EQ(rule->rank, adapter.tensors.at(module + ".lora_A.weight")[0]) << module;
  }
}

TEST(PeftAdapter, RanksAndAlphasOfPatternsHold) {
  AdapterFolder folder("llama");
  const RunConfig model = folder.import_base();
  const LoraRules rules(open_peft_adapter(folder.write(), model).lora);
  const auto scale = [&](const std::string& module) { return rules.of(module)->scale; };
  EXPECT_NEAR(scale("model.layers.0.self_attn.q_proj"), 6 / std::sqrt(3.0), 1e-12);
  EXPECT_NEAR(scale("model.layers.1.self_attn.q_proj"), 1 / std::sqrt(3.0), 1e-12);
  EXPECT_NEAR(scale("model.layers.1.self_attn.v_proj"), 6 / std::sqrt(2.0), 1e-12);
  EXPECT_EQ(rules.of("model.layers.1.self_attn.v_proj")->rank, 2);
}

// Of patterns that both match the first one holds, in the order of the file.
TEST(PeftAdapter, TheFirstPatternOfTheFileHolds) {
  AdapterFolder folder("llama");
  const RunConfig model = folder.import_base();
  const std::string path = folder.write();
  folder.config["alpha_pattern"] = Json::object();
  std::string text = folder.config.dump();
  const std::string empty = "\"alpha_pattern\":{}";
  text.replace(text.find(empty), empty.size(), R"("alpha_pattern":{"q_proj":9,".*proj":4})");
  std::ofstream(path + "/adapter_config.json") << text;
  const LoraRules rules(open_peft_adapter(path, model).lora);
  EXPECT_NEAR(rules.of("model.layers.0.self_attn.q_proj")->scale, 9 / std::sqrt(3.0), 1e-12);
  EXPECT_NEAR(rules.of("model.layers.0.self_attn.o_proj")->scale, 4 / std::sqrt(3.0), 1e-12);
}

class ExpertsApart : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Families, ExpertsApart,
                         ::testing::Values("qwen3_moe", "mixtral", "deepseek_v2"),
                         [](const auto& info) { return info.param; });

// Dense layers and shared experts keep theirs, which PEFT drops.
TEST_P(ExpertsApart, AreThoseOfOneTensor) {
  AdapterFolder folder(GetParam());
  const RunConfig model = folder.import_base();
  const StoredAdapter fused = open_peft_adapter(folder.write(test_folder() + "/first"), model);
  take_experts_apart(folder, model);
  expect_same(open_peft_adapter(folder.write(), model), fused);
}

// PEFT divides by the square root of twice the rank.
TEST_P(ExpertsApart, HaveTheScaleOfTheirOwnRankWithRsLora) {
  AdapterFolder folder(GetParam());
  const RunConfig model = folder.import_base();
  take_experts_apart(folder, model);
  folder.config["use_rslora"] = true;
  const LoraRules rules(open_peft_adapter(folder.write(), model).lora);
  for (const char* part : {"gate_proj", "up_proj", "down_proj"})
    EXPECT_NEAR(rules.of(concat("model.layers.2.mlp.experts.1.", part))->scale, 3 / std::sqrt(2.0),
                1e-12);
}

TEST(PeftAdapter, AnElementOfEachLayoutIsWhereItBelongs) {
  AdapterFolder folder("qwen3_moe");
  const RunConfig model = folder.import_base();
  const StoredAdapter adapter = open_peft_adapter(folder.write(), model);
  const std::string layer = "model.layers.1.mlp.experts";
  const int64_t experts = 6, rank = 2, expert = 4;
  const auto at = [](const Tensor& t, int64_t i, int64_t j) {
    return t.to_doubles()[static_cast<size_t>(i * t.dim(1) + j)];
  };
  const auto ours = [&](const std::string& name) {
    return adapter.read(concat(layer, ".", expert, ".", name, ".weight"));
  };
  const std::string key = "base_model.model." + layer;
  // A: row e r + k.  B: column k E + e.
  EXPECT_EQ(at(ours("down_proj.lora_A"), 1, 7),
            at(folder[key + ".lora_A.weight"], expert * rank + 1, 7));
  EXPECT_EQ(at(ours("down_proj.lora_B"), 9, 1),
            at(folder[key + ".lora_B.weight"], 9, 1 * experts + expert));
  // Of gate and up the rank is twice that, up's half the second, as are its rows.
  EXPECT_EQ(at(ours("up_proj.lora_A"), 1, 7),
            at(folder[key + ".base_layer.lora_A.weight"], expert * 2 * rank + rank + 1, 7));
  EXPECT_EQ(at(ours("up_proj.lora_B"), 9, 1),
            at(folder[key + ".base_layer.lora_B.weight"], 22 + 9, (rank + 1) * experts + expert));
}

TEST(PeftAdapter, EmbeddingsAreTransposedAndSavedModulesReplaceTheBase) {
  AdapterFolder folder("llama");
  const RunConfig model = folder.import_base();
  const std::string embedding = "base_model.model.model.embed_tokens";
  const auto drawn = [](const std::string& name, const Shape& shape) {
    return Tensor::from(shape, golden_weights(name, shape.numel()), DType::kF32);
  };
  folder[embedding + ".lora_embedding_A"] = drawn("lora_embedding_A", {3, 517});
  folder[embedding + ".lora_embedding_B"] = drawn("lora_embedding_B", {40, 3});
  folder[embedding + ".base_layer.weight"] = drawn("embedding", {517, 40});
  folder["base_model.model.model.norm.weight"] = drawn("norm", {40});
  folder.config["modules_to_save"] = {"norm"};
  const StoredAdapter adapter = open_peft_adapter(folder.write(), model);
  const std::vector<double> a = adapter.read("model.embed_tokens.lora_embedding_A").to_doubles();
  EXPECT_EQ(a[5 * 3 + 2], folder[embedding + ".lora_embedding_A"].to_doubles()[2 * 517 + 5]);
  EXPECT_EQ(adapter.read("model.norm.weight").to_doubles(),
            folder["base_model.model.model.norm.weight"].to_doubles());
  EXPECT_TRUE(LoraRules(adapter.lora).saves("model.norm"));
  EXPECT_TRUE(LoraRules(adapter.lora).of("model.embed_tokens").has_value());
  const SavedModel saved = load_saved_model("test", base_run(), "fp32", adapter_path());
  for (const auto& parameter : saved.role->store().all()) {
    if (parameter->table().front().name == "model.norm.weight") {
      EXPECT_EQ(parameter->value().to_doubles(),
                folder["base_model.model.model.norm.weight"].to_doubles());
    }
    if (parameter->table().front().name == "model.embed_tokens.weight") {
      EXPECT_EQ(parameter->value().to_doubles(),
                folder[embedding + ".base_layer.weight"].to_doubles());
    }
  }
}

TEST(PeftAdapter, AnotherBaseIsWarnedOfByNameOrByFingerprint) {
  AdapterFolder folder("llama");
  const RunConfig model = folder.import_base();
  const Manifest base = read_manifest(find_checkpoint("test", base_run()));
  const auto said = [&](const StoredAdapter& adapter) {
    ::testing::internal::CaptureStderr();
    warn_of_other_base(adapter, base);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(said(open_peft_adapter(folder.write(), model)), "");
  folder.config["base_model_name_or_path"] = "someone/Llama-9";
  EXPECT_THAT(said(open_peft_adapter(folder.write(), model)),
              ::testing::AllOf(::testing::HasSubstr("someone/Llama-9"),
                               ::testing::HasSubstr("the model is model")));
  std::ofstream(adapter_path() + "/orthant_adapter.json")
      << R"({"base": "model", "base_fingerprint": "12ab"})";
  EXPECT_THAT(said(open_peft_adapter(adapter_path(), model)),
              ::testing::HasSubstr("fingerprint 12ab"));
  std::ofstream(adapter_path() + "/orthant_adapter.json")
      << R"({"base": "model", "base_fingerprint": ")" << weights_fingerprint(base) << "\"}";
  EXPECT_EQ(said(open_peft_adapter(adapter_path(), model)), "");
}

TEST(PeftTensors, NamesAreAsShortAsOthersAllow) {
  EXPECT_EQ(shortest_names({"m.0.q", "m.1.q"}, {"m.0.k"}), std::vector<std::string>{"q"});
  EXPECT_EQ(shortest_names({"m.0.q"}, {"m.1.q"}), std::vector<std::string>{"0.q"});
  EXPECT_EQ(shortest_names({"m.0.q", "m.0.x.q"}, {"m.1.q"}),
            (std::vector<std::string>{"0.q", "x.q"}));
}

}  // namespace
}  // namespace orthant::testing
