// SPDX-License-Identifier: Apache-2.0
// A pasted config.json is the right model, or refused by name: never another model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/config/config.h"
#include "base/error.h"
#include "trainer/run_plan.h"

namespace orthant {
namespace {

using ::testing::HasSubstr;

constexpr const char* kFolder = ORTHANT_SOURCE_DIR "/tests/golden/hub_configs/";

// The model of a file, pasted whole into `model:`, or given as one override.
ModelConfig model_of(const std::string& name, bool as_override) {
  std::ifstream file(kFolder + name + ".json");
  std::stringstream text;
  text << file.rdbuf();
  const std::string run =
      "run: {max_steps: 1}\nbatch: {sequence_length: 16}\n"
      "data: {train: a.txt}\nmodel: ";
  const RunConfig config =
      as_override ? parse_config<RunConfig>(run + "{}\n", "f.yaml", {"model=" + text.str()}).config
                  : parse_config<RunConfig>(run + text.str(), "f.yaml").config;
  return RunPlan(config, 1).config().model;
}

std::string refusal(const std::string& name, bool as_override) {
  try {
    model_of(name, as_override);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    return error.what();
  }
  return "accepted";
}

struct Built {
  const char* name;
  int64_t parameters;  // as published
  int64_t window = 0;
};

// The number of parameters is the proof that no size was misread.
constexpr Built kBuilt[] = {
    {"llama-2-7b", 6'738'415'616},
    {"llama-3-8b", 8'030'261'248},
    {"smollm2-135m-instruct", 134'515'008},
    {"mistral-7b-v0.1", 7'241'732'096, 4096},
    {"mistral-7b-v0.3", 7'248'023'552},
    {"mixtral-8x7b-v0.1", 46'702'792'704},
    {"llama-3.1-8b-instruct", 8'030'261'248},
    {"deepseek-v2-lite", 15'706'484'224},
    {"deepseek-v2", 235'741'434'880},
    {"qwen2-7b", 7'615'616'512},
    {"qwen3-8b", 8'190'735'360},
    {"qwen3-30b-a3b", 30'532'122'624},
    {"olmoe-1b-7b-0924", 6'919'161'856},
    // With the layer for multi-token prediction, but not its copies of embedding and head.
    {"glm-4.5", 356'785'898'816},
    {"glm-4.7-flash", 30'587'100'096},
};

struct Refused {
  const char* name;
  std::vector<const char*> because;  // "key: ... why"
};

const Refused kRefused[] = {
    {"deepseek-v3", {"model.quantization_config: want null, got a mapping"}},
    {"kimi-k2", {"model.quantization_config: want null, got a mapping"}},
    {"qwen3-next-80b-a3b",
     {"qwen3_next has", "gated linear attention", "model.shared_expert_intermediate_size",
      "model.linear_conv_kernel_dim: unknown key"}},
    {"ministral-3-8b",
     {"ministral3 has", "queries that are scaled by their position",
      "model.rope_scaling.llama_4_scaling_beta: unknown key"}},
    {"olmo-2-7b", {"olmo2 has", "norms behind the blocks"}},
    {"minimax-m2",
     {"model.quantization_config", "model.attn_type_list: unknown key",
      "model.use_mtp: unknown key"}},
    {"gpt-oss-20b",
     {"gpt_oss has", "attention sinks", "model.swiglu_limit",
      "model.rope_scaling.truncate: want null or true", "model.quantization_config",
      "model.experts_per_token: unknown key"}},
    {"gemma-3-1b",
     {"gemma3_text has", "four norms a layer", "model.query_pre_attn_scalar",
      "model.hidden_activation: unknown key", "model.rope_local_base_freq: unknown key"}},
};

TEST(HubConfigs, TheRightModelWhereItIsBuilt) {
  for (const Built& built : kBuilt) {
    for (const bool as_override : {false, true}) {
      SCOPED_TRACE(built.name);
      ASSERT_EQ(as_override ? refusal(built.name, true) : refusal(built.name, false), "accepted");
      const ModelConfig model = model_of(built.name, as_override);
      EXPECT_EQ(total_parameters(model), built.parameters);
      EXPECT_EQ(model.window_of(0), built.window);
      EXPECT_EQ(model.window_of(model.num_hidden_layers - 1), built.window);
    }
  }
  const ModelConfig smol = model_of("smollm2-135m-instruct", false);
  EXPECT_TRUE(smol.tie_word_embeddings);
  EXPECT_EQ(smol.rope_theta, 100000);
  EXPECT_EQ(smol.initializer_range, 0.041666666666666664);
  const ModelConfig mixtral = model_of("mixtral-8x7b-v0.1", false);
  EXPECT_TRUE(mixtral.norm_topk_prob);  // which no key of the file says
  EXPECT_EQ(mixtral.n_routed_experts, 8);
  EXPECT_EQ(mixtral.moe_intermediate_size, 14336);
}

TEST(HubConfigs, RefusedByNameWhereItIsNot) {
  for (const Refused& refused : kRefused) {
    for (const bool as_override : {false, true}) {
      SCOPED_TRACE(refused.name);
      const std::string text = refusal(refused.name, as_override);
      for (const char* because : refused.because) EXPECT_THAT(text, HasSubstr(because));
    }
  }
}

TEST(HubConfigs, EveryFileIsSpokenOf) {
  std::set<std::string> spoken, found;
  for (const Built& built : kBuilt) spoken.insert(built.name);
  for (const Refused& refused : kRefused) spoken.insert(refused.name);
  for (const auto& entry : std::filesystem::directory_iterator(kFolder))
    if (entry.path().extension() == ".json") found.insert(entry.path().stem());
  EXPECT_EQ(found, spoken);
}

std::string fault(const std::string& keys) {
  const std::string text = concat("run: {max_steps: 1}\nbatch: {sequence_length: 16}\n",
                                  "data: {train: a.txt}\nmodel: {", keys, "}\n");
  try {
    const std::string yaml = RunPlan(parse_config<RunConfig>(text, "f.yaml").config, 1).yaml();
    EXPECT_EQ(RunPlan(parse_config<RunConfig>(yaml, "again").config, 1).yaml(), yaml);
  } catch (const Error& error) {
    return error.what();
  }
  return "no fault";
}

TEST(HubConfigs, TheFamilyIsSaidOnceOrTwiceButNotTwoWays) {
  EXPECT_EQ(fault("architectures: [LlamaForCausalLM]"), "no fault");
  EXPECT_EQ(fault("architectures: [LlamaForCausalLM], model_type: llama"), "no fault");
  EXPECT_EQ(fault("architectures: [LlamaForCausalLM], model_type: mistral"),
            "model.architectures: LlamaForCausalLM is of model_type llama, got mistral");
  EXPECT_THAT(fault("model_type: mixtral"),
              HasSubstr("model.n_routed_experts: a mixtral model has"));
  const std::string experts = "n_routed_experts: 4, num_experts_per_tok: 2, ";
  EXPECT_EQ(fault(experts + "architectures: [MixtralForCausalLM]"), "no fault");
  EXPECT_THAT(fault(experts + "moe_intermediate_size: 8, model_type: llama"),
              HasSubstr("model.n_routed_experts: a llama model has none, got 4"));
  EXPECT_THAT(fault("model_type: unheard_of"),
              HasSubstr("f.yaml:4:21: model.model_type: what unheard_of implies is not known "
                        "here; where its blocks are those of another family, give that one's "
                        "name; want one of custom, llama, mistral, mixtral, deepseek_v2, "
                        "deepseek_v3, kimi_k2, glm4_moe, glm4_moe_lite, qwen2, qwen3, qwen3_moe, "
                        "olmoe, minimax_m2"));
  EXPECT_THAT(fault("model_type: gemma2"),
              HasSubstr("f.yaml:4:21: model.model_type: gemma2 has four norms a layer, soft caps "
                        "and GeGLU, which is not built; want one of custom, llama"));
}

TEST(HubConfigs, HeadsThatAreNormedAsOneAreNotShared) {
  const std::string text =
      "run: {max_steps: 1}\nbatch: {sequence_length: 16}\ndata: {train: a.txt}\n"
      "model: {hidden_size: 64, use_qk_norm: true, qk_norm_type: per_layer}\n";
  const RunConfig config =
      parse_config<RunConfig>(text, "f.yaml", {"parallel.tensor_parallel_size=2"}).config;
  try {
    const RunPlan plan(config, 2);
    ADD_FAILURE() << "it was taken";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("2 ranks cannot share heads that are normed as one"));
  }
}

TEST(HubConfigs, OneLayerForMultiTokenPredictionIsBuilt) {
  EXPECT_EQ(fault("num_nextn_predict_layers: null"), "no fault");
  EXPECT_EQ(fault("mtp_num_layers: 1, mtp_loss_scaling_factor: 0.1"), "no fault");
  EXPECT_THAT(fault("num_nextn_predict_layers: 2"),
              HasSubstr("model.num_nextn_predict_layers: want an integer"));
  EXPECT_THAT(fault("mtp_loss_weight: 0"), HasSubstr("model.mtp_loss_weight"));
}

TEST(HubConfigs, AKeySaidTwiceTheSameIsNoFault) {
  EXPECT_EQ(fault("rope_scaling: {type: linear, rope_type: linear, factor: 2}"), "no fault");
  EXPECT_EQ(fault("rope_scaling: null, rope_parameters: {rope_theta: 500.0}"), "no fault");
  EXPECT_THAT(fault("rope_scaling: {type: linear, rope_type: yarn, factor: 2}"),
              HasSubstr("another name of model.rope_scaling.rope_type"));
}

}  // namespace
}  // namespace orthant
