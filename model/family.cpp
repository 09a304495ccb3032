// SPDX-License-Identifier: Apache-2.0
#include "model/family.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace orthant {
namespace {

struct Family {
  std::string_view model_type, architecture;
  FamilyRules rules = {};
  std::string_view missing = "";  // what is not built
};

constexpr std::string_view kLatent = "multi-head latent attention";
constexpr std::string_view kDelta = "gated linear attention";

constexpr FamilyRules kNone = {};
constexpr FamilyRules kLatentExperts = {.has_latent = true, .has_experts = true};
constexpr FamilyRules kLatentSigmoid = {
    .has_latent = true, .has_experts = true, .is_sigmoid = true};

constexpr std::array kFamilies = {
    Family{"llama", "LlamaForCausalLM"},
    Family{"mistral", "MistralForCausalLM"},
    Family{"mixtral",
           "MixtralForCausalLM",
           {.has_experts = true, .normalizes = true, .uses_intermediate = true}},
    Family{"deepseek_v2", "DeepseekV2ForCausalLM", kLatentExperts},
    Family{"deepseek_v3", "DeepseekV3ForCausalLM", kLatentSigmoid},
    Family{"kimi_k2", "DeepseekV3ForCausalLM", kLatentSigmoid},
    Family{"glm4_moe",
           "Glm4MoeForCausalLM",
           {.has_experts = true, .may_have_bias = true, .is_sigmoid = true}},
    Family{"glm4_moe_lite", "Glm4MoeLiteForCausalLM", kLatentSigmoid},
    Family{"qwen2", "Qwen2ForCausalLM", {.has_bias = true}},
    Family{"qwen3", "Qwen3ForCausalLM", {.norms_heads = true}},
    Family{"qwen3_moe", "Qwen3MoeForCausalLM", {.has_experts = true, .norms_heads = true}},
    Family{"olmoe",
           "OlmoeForCausalLM",
           {.has_experts = true, .norms_all_heads = true, .uses_intermediate = true}},
    Family{"minimax_m2",
           "MiniMaxM2ForCausalLM",
           {.has_experts = true,
            .norms_all_heads = true,
            .is_sigmoid = true,
            .normalizes = true,
            .uses_intermediate = true}},
    Family{"deepseek_v32", "DeepseekV32ForCausalLM", kNone, "sparse latent attention"},
    Family{"qwen2_moe", "Qwen2MoeForCausalLM", kNone, "a gated shared expert"},
    Family{"qwen3_next", "Qwen3NextForCausalLM", kNone, kDelta},
    Family{"qwen3_5", "Qwen3_5ForCausalLM", kNone, kDelta},
    Family{"ministral3", "Ministral3ForCausalLM", kNone,
           "queries that are scaled by their position"},
    Family{"mistral4", "Mistral4ForCausalLM", kNone, kLatent},
    Family{"olmo", "OlmoForCausalLM", kNone, "norms without a weight"},
    Family{"olmo2", "Olmo2ForCausalLM", kNone,
           "norms behind the blocks, and norms of queries and keys"},
    Family{"olmo3", "Olmo3ForCausalLM", kNone,
           "norms behind the blocks, and norms of queries and keys"},
    Family{"gpt_oss", "GptOssForCausalLM", kNone, "attention sinks, biases and a clamped SwiGLU"},
    Family{"gemma", "GemmaForCausalLM", kNone,
           "scaled embeddings, norms of weight 1 + w and GeGLU"},
    Family{"gemma2", "Gemma2ForCausalLM", kNone, "four norms a layer, soft caps and GeGLU"},
    Family{"gemma3_text", "Gemma3ForCausalLM", kNone,
           "four norms a layer, norms of queries and keys, two rotary bases and GeGLU"},
    Family{"gemma3", "Gemma3ForConditionalGeneration", kNone,
           "four norms a layer, norms of queries and keys, two rotary bases, GeGLU and vision"},
    Family{"phi3", "Phi3ForCausalLM", kNone, "its rotary embedding for long texts"},
    Family{"gpt2", "GPT2LMHeadModel", kNone, "learned positions, biases and LayerNorm"},
    Family{"gpt_neox", "GPTNeoXForCausalLM", kNone, "parallel blocks, biases and LayerNorm"},
};

}  // namespace

std::vector<std::string> built_families() {
  std::vector<std::string> names = {kCustomFamily};
  for (const Family& family : kFamilies)
    if (family.missing.empty()) names.emplace_back(family.model_type);
  return names;
}

std::vector<std::string> built_architectures() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) {
    const std::string name(family.architecture);
    if (family.missing.empty() && std::ranges::find(names, name) == names.end())
      names.push_back(name);
  }
  return names;
}

std::string why_not_built(const std::string& name) {
  for (const Family& family : kFamilies) {
    if (family.model_type == name || family.architecture == name)
      return concat(name, " has ", family.missing, ", which is not built");
  }
  return concat("what ", name,
                " implies is not known here; where its blocks are those of another family, give "
                "that one's name");
}

std::string family_of(const std::string& architecture) {
  for (const Family& family : kFamilies)
    if (family.architecture == architecture) return std::string(family.model_type);
  return kCustomFamily;
}

bool is_of_family(const std::string& architecture, const std::string& model_type) {
  return std::ranges::any_of(kFamilies, [&](const Family& family) {
    return family.architecture == architecture && family.model_type == model_type;
  });
}

const FamilyRules& rules_of(const std::string& model_type) {
  for (const Family& family : kFamilies)
    if (family.model_type == model_type) return family.rules;
  return kNone;
}

}  // namespace orthant
