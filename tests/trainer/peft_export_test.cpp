// SPDX-License-Identifier: Apache-2.0
// Adapters become the folder that PEFT saved them in, or are refused by name.
#include "trainer/hub/peft_export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/trainer/peft_testing.h"
#include "trainer/hub/peft_plan.h"

namespace orthant::testing {
namespace {

class Export : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Peft, Export, ::testing::ValuesIn(kGoldenAdapters),
                         [](const auto& info) { return info.param; });

TEST_P(Export, GivesTheTensorsThatWereRead) {
  AdapterFolder folder(GetParam());
  const RunConfig model = folder.import_base();
  const StoredAdapter adapter = open_peft_adapter(folder.write(), model);
  write_peft_folder(adapter, model, {.name = "model", .fingerprint = "ab"}, out());
  const SafetensorsReader written(out() + "/adapter_model.safetensors");
  ASSERT_EQ(written.entries().size(), folder.tensors.size());
  for (const auto& [key, tensor] : folder.tensors) {
    ASSERT_NE(written.find(key), nullptr) << key;
    EXPECT_EQ(written.read_tensor(key).to_doubles(), tensor.to_doubles()) << key;
  }
  const Json config = Json::parse(read_bytes(out() + "/adapter_config.json"));
  EXPECT_EQ(config["use_rslora"], folder.config["use_rslora"]);
  EXPECT_EQ(open_peft_adapter(out(), model).base_fingerprint, "ab");
}

// One rank and alpha for most, and patterns of whole names for the rest.
TEST(PeftExport, NamesWhatIsAdaptedAndNothingElse) {
  AdapterFolder folder("deepseek_v2");
  const RunConfig model = folder.import_base();
  const PeftConfig config =
      plan_peft_folder(open_peft_adapter(folder.write(), model), model).config;
  EXPECT_EQ(config.rank, 2);
  EXPECT_EQ(config.alpha, 3);
  EXPECT_THAT(config.target_modules,
              ::testing::UnorderedElementsAre("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa",
                                              "kv_b_proj", "o_proj"));
  // By which PEFT neither drops dense layers nor makes experts of them.
  EXPECT_THAT(config.target_parameters,
              ::testing::UnorderedElementsAre("down_proj", "gate_up_proj", "down_proj.weight",
                                              "gate_proj.weight", "up_proj.weight"));
  EXPECT_THAT(config.ranks, ::testing::ElementsAre(std::pair("gate_up_proj", 4)));
  EXPECT_THAT(config.alphas, ::testing::ElementsAre(std::pair("gate_up_proj", 6.0)));
}

TEST(PeftExport, PartOfTheLayersIsNamedLayerByLayer) {
  AdapterFolder folder("llama");
  const RunConfig model = folder.import_base();
  std::erase_if(folder.tensors, [](const auto& entry) {
    return entry.first.find("layers.1.mlp") != std::string::npos;
  });
  const PeftConfig config =
      plan_peft_folder(open_peft_adapter(folder.write(), model), model).config;
  EXPECT_THAT(config.target_modules, ::testing::Contains("0.mlp.up_proj"));
  EXPECT_THAT(config.target_modules, ::testing::Contains("q_proj"));
  EXPECT_THAT(config.target_modules, ::testing::Not(::testing::Contains("up_proj")));
}

class Refused : public ::testing::Test {
 protected:
  Refused() : folder_("qwen3_moe"), model_(folder_.import_base()) {
    adapter_ = open_peft_adapter(folder_.write(), model_);
  }
  void expect(const std::string& text) const {
    try {
      write_peft_folder(adapter_, model_, {}, out());
      ADD_FAILURE() << "was written";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig) << error.what();
      EXPECT_THAT(error.what(), ::testing::HasSubstr(text));
    }
    EXPECT_FALSE(std::filesystem::exists(out()));
  }

  AdapterFolder folder_;
  RunConfig model_;
  StoredAdapter adapter_;
};
using PeftExportRefuses = Refused;

TEST_F(PeftExportRefuses, OtherRanksOfGateAndUp) {
  adapter_.lora.patterns.push_back({"up_proj", 0, 7.0});
  expect("one rank and alpha for gate_proj and up_proj");
}

TEST_F(PeftExportRefuses, GateWithoutUp) {
  std::erase_if(adapter_.tensors, [](const auto& tensor) {
    return tensor.first.find("up_proj") != std::string::npos;
  });
  expect("gate_proj and up_proj of experts together");
}

TEST_F(PeftExportRefuses, DropoutOnExperts) {
  adapter_.lora.dropout = 0.1;
  expect("lora.dropout");
}

TEST_F(PeftExportRefuses, ExpertsThatAreWhole) {
  adapter_.tensors["model.layers.1.mlp.experts.2.up_proj.weight"] = {22, 40};
  expect("saves no expert");
}

TEST_F(PeftExportRefuses, ALayerForMultiTokenPrediction) {
  adapter_.tensors["model.layers.3.self_attn.q_proj.lora_A.weight"] = {2, 40};
  adapter_.tensors["model.layers.3.self_attn.q_proj.lora_B.weight"] = {56, 2};
  expect("multi-token prediction");
}

TEST_F(PeftExportRefuses, OtherKindsOfTensors) {
  adapter_.tensors["model.layers.0.self_attn.q_proj.lora_magnitude_vector"] = {56};
  expect("q_proj.lora_magnitude_vector: is nothing that a PEFT folder has");
}

TEST_F(PeftExportRefuses, OneEndOfATiedModel) {
  model_.model.tie_word_embeddings = true;
  adapter_.tensors["model.embed_tokens.lora_embedding_A"] = {517, 2};
  adapter_.tensors["model.embed_tokens.lora_embedding_B"] = {40, 2};
  expect("tie_word_embeddings");
}

TEST_F(PeftExportRefuses, AModuleOfWhichPartTrained) {
  model_.model.attention_bias = true;
  adapter_.tensors["model.layers.0.self_attn.o_proj.weight"] = {40, 56};
  adapter_.tensors["model.layers.0.self_attn.q_proj.weight"] = {56, 40};
  expect("did not train");
}

}  // namespace
}  // namespace orthant::testing
