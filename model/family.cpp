// SPDX-License-Identifier: Apache-2.0
#include "model/family.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace orthant {
namespace {

struct Family {
  std::string_view model_type, architecture;
  std::string_view missing = "";  // what is not built
};

constexpr std::string_view kLatent = "multi-head latent attention";
constexpr std::string_view kNorms = "norms of queries and keys";
constexpr std::string_view kDelta = "gated linear attention";

constexpr std::array kFamilies = {
    Family{"llama", "LlamaForCausalLM"},
    Family{"mistral", "MistralForCausalLM"},
    Family{"mixtral", "MixtralForCausalLM"},
    Family{"deepseek_v2", "DeepseekV2ForCausalLM"},
    Family{"deepseek_v3", "DeepseekV3ForCausalLM"},
    Family{"kimi_k2", "DeepseekV3ForCausalLM"},
    Family{"deepseek_v32", "DeepseekV32ForCausalLM", "sparse latent attention"},
    Family{"glm4_moe", "Glm4MoeForCausalLM",
           "rotary embedding of a part of a head, and biases of queries, keys and values"},
    Family{"glm4_moe_lite", "Glm4MoeLiteForCausalLM", kLatent},
    Family{"qwen2", "Qwen2ForCausalLM", "biases of queries, keys and values"},
    Family{"qwen2_moe", "Qwen2MoeForCausalLM",
           "biases of queries, keys and values, and a gated shared expert"},
    Family{"qwen3", "Qwen3ForCausalLM", kNorms},
    Family{"qwen3_moe", "Qwen3MoeForCausalLM", kNorms},
    Family{"qwen3_next", "Qwen3NextForCausalLM", kDelta},
    Family{"qwen3_5", "Qwen3_5ForCausalLM", kDelta},
    Family{"ministral3", "Ministral3ForCausalLM", "queries that are scaled by their position"},
    Family{"mistral4", "Mistral4ForCausalLM", kLatent},
    Family{"olmo", "OlmoForCausalLM", "norms without a weight"},
    Family{"olmo2", "Olmo2ForCausalLM", "norms behind the blocks, and norms of queries and keys"},
    Family{"olmo3", "Olmo3ForCausalLM", "norms behind the blocks, and norms of queries and keys"},
    Family{"olmoe", "OlmoeForCausalLM", kNorms},
    Family{"minimax_m2", "MiniMaxM2ForCausalLM",
           "norms of queries and keys, and rotary embedding of a part of a head"},
    Family{"gpt_oss", "GptOssForCausalLM", "attention sinks, biases and a clamped SwiGLU"},
    Family{"gemma", "GemmaForCausalLM", "scaled embeddings, norms of weight 1 + w and GeGLU"},
    Family{"gemma2", "Gemma2ForCausalLM", "four norms a layer, soft caps and GeGLU"},
    Family{"gemma3_text", "Gemma3ForCausalLM",
           "four norms a layer, norms of queries and keys, two rotary bases and GeGLU"},
    Family{"gemma3", "Gemma3ForConditionalGeneration",
           "four norms a layer, norms of queries and keys, two rotary bases, GeGLU and vision"},
    Family{"phi3", "Phi3ForCausalLM", "its rotary embedding for long texts"},
    Family{"gpt2", "GPT2LMHeadModel", "learned positions, biases and LayerNorm"},
    Family{"gpt_neox", "GPTNeoXForCausalLM", "parallel blocks, biases and LayerNorm"},
};

constexpr const char* kRemedy =
    "; to build what the other keys say, leave model_type and architectures out";

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
      return concat("it has ", family.missing, ", not built", kRemedy);
  }
  return concat("what this name implies is not known here", kRemedy);
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

}  // namespace orthant
