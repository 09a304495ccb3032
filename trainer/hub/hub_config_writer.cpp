// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/problems.h"
#include "trainer/hub/hub_config.h"

namespace orthant {
namespace {

using Json = nlohmann::ordered_json;

// What a model has that a family of transformers does not.
void want_plain_heads(const ModelConfig& m, Problems& problems) {
  problems.want(!m.is_latent(), "latent attention (DeepSeek's alone)");
  problems.want(m.v_head_dim == m.head_dim, "value heads of another width than key heads");
}
bool all_layers_have_window(const ModelConfig& m, int64_t window) {
  for (int64_t layer = 0; layer < m.num_hidden_layers; ++layer)
    if (m.window_of(layer) != window) return false;
  return true;
}

void check_llama(const ModelConfig& m, Problems& problems) {
  want_plain_heads(m, problems);
  problems.want(!m.is_moe(), "experts");
  problems.want(all_layers_have_window(m, 0), "windows");
}
void check_mistral(const ModelConfig& m, Problems& problems) {
  want_plain_heads(m, problems);
  problems.want(!m.is_moe(), "experts");
  problems.want(all_layers_have_window(m, m.sliding_window) && m.sliding_window > 0,
                "windows in some layers, or in none");
}
void check_mixtral(const ModelConfig& m, Problems& problems) {
  want_plain_heads(m, problems);
  problems.want(m.is_moe() && m.first_k_dense_replace == 0, "layers without experts");
  problems.want(m.n_shared_experts == 0, "shared experts beside grouped-query attention");
  problems.want(m.scoring_func == ScoreKind::kSoftmax && m.topk_method == TopkMethod::kGreedy &&
                    m.norm_topk_prob && m.routed_scaling_factor == 1.0,
                "scores that are no softmax divided by its chosen part "
                "(norm_topk_prob true, routed_scaling_factor 1)");
  problems.want(all_layers_have_window(m, m.sliding_window), "windows in some layers");
}
void want_latent(const ModelConfig& m, Problems& problems) {
  problems.want(m.is_latent(), "grouped-query attention");
  problems.want(m.is_moe(), "no experts");
  problems.want(all_layers_have_window(m, 0), "windows");
}
void check_deepseek_v2(const ModelConfig& m, Problems& problems) {
  want_latent(m, problems);
  problems.want(m.scoring_func == ScoreKind::kSoftmax && !m.has_router_bias(),
                "sigmoid scores or a selection bias");
  problems.want(!m.norm_topk_prob, "chosen scores that are divided by their sum");
}
void check_deepseek_v3(const ModelConfig& m, Problems& problems) {
  want_latent(m, problems);
  problems.want(m.scoring_func == ScoreKind::kSigmoid && m.has_router_bias(),
                "scores other than sigmoid with a selection bias");
  problems.want(m.q_lora_rank > 0, "queries without a latent");
}

struct Writable {
  const char *model_type, *architecture;
  void (*check)(const ModelConfig&, Problems&);
};
constexpr Writable kFamilies[] = {
    {"llama", "LlamaForCausalLM", check_llama},
    {"mistral", "MistralForCausalLM", check_mistral},
    {"mixtral", "MixtralForCausalLM", check_mixtral},
    {"deepseek_v2", "DeepseekV2ForCausalLM", check_deepseek_v2},
    {"deepseek_v3", "DeepseekV3ForCausalLM", check_deepseek_v3},
};

const Writable& family_for(const ModelConfig& m) {
  std::string why;
  for (const Writable& family : kFamilies) {
    Problems problems;
    family.check(m, problems);
    if (problems.empty()) return family;
    why += concat("\n  ", family.model_type, ": ");
    for (size_t i = 0; i < problems.lines().size(); ++i)
      why += concat(i > 0 ? "; " : "", problems.lines()[i]);
  }
  throw_error(ErrorKind::kConfig,
              concat("export: no family of transformers computes this model; it has, and they "
                     "have not:",
                     why));
}

Json rope_of(const ModelConfig& m, const char* type_key) {
  const RopeScaling& s = m.rope_scaling;
  Json rope;
  rope[type_key] = rope_type_names().of(s.rope_type);
  if (s.rope_type == RopeType::kDefault) return rope;
  rope["factor"] = s.factor;
  if (s.rope_type == RopeType::kLinear) return rope;
  rope["original_max_position_embeddings"] = s.original_max_position_embeddings;
  if (s.rope_type == RopeType::kLlama3) {
    rope["low_freq_factor"] = s.low_freq_factor;
    rope["high_freq_factor"] = s.high_freq_factor;
    return rope;
  }
  rope["beta_fast"] = s.beta_fast;
  rope["beta_slow"] = s.beta_slow;
  if (s.mscale > 0) rope["mscale"] = s.mscale;
  if (s.mscale_all_dim > 0) rope["mscale_all_dim"] = s.mscale_all_dim;
  if (s.attention_factor > 0) rope["attention_factor"] = s.attention_factor;
  return rope;
}

void add_rope(const ModelConfig& m, Json& json) {
  json["rope_theta"] = m.rope_theta;
  json["rope_scaling"] =
      m.rope_scaling.rope_type == RopeType::kDefault ? Json(nullptr) : rope_of(m, "type");
  // The same for transformers 5.
  Json rope = rope_of(m, "rope_type");
  rope["rope_theta"] = m.rope_theta;
  json["rope_parameters"] = std::move(rope);
}

void add_heads(const ModelConfig& m, Json& json) {
  json["num_attention_heads"] = m.num_attention_heads;
  json["num_key_value_heads"] = m.num_key_value_heads;
  if (!m.is_latent()) {
    json["head_dim"] = m.head_dim;
    return;
  }
  json["q_lora_rank"] = m.q_lora_rank > 0 ? Json(m.q_lora_rank) : Json(nullptr);
  json["kv_lora_rank"] = m.kv_lora_rank;
  json["qk_nope_head_dim"] = m.qk_nope_head_dim;
  json["qk_rope_head_dim"] = m.qk_rope_head_dim;
  json["v_head_dim"] = m.v_head_dim;
}

void add_experts(const ModelConfig& m, const std::string& model_type, Json& json) {
  json["num_experts_per_tok"] = m.num_experts_per_tok;
  if (model_type == "mixtral") {
    json["num_local_experts"] = m.n_routed_experts;
    json["intermediate_size"] = m.moe_intermediate_size;
    return;
  }
  json["n_routed_experts"] = m.n_routed_experts;
  json["n_shared_experts"] = m.n_shared_experts;
  json["moe_intermediate_size"] = m.moe_intermediate_size;
  json["first_k_dense_replace"] = m.first_k_dense_replace;
  json["moe_layer_freq"] = 1;
  json["norm_topk_prob"] = m.norm_topk_prob;
  json["routed_scaling_factor"] = m.routed_scaling_factor;
  json["scoring_func"] = score_names().of(m.scoring_func);
  json["topk_method"] = topk_method_names().of(m.topk_method);
  json["n_group"] = m.n_group;
  json["topk_group"] = m.topk_group;
}

}  // namespace

std::string hub_config_text(const ModelConfig& m, DType dtype, int64_t extra_layers) {
  const Writable& family = family_for(m);
  const std::string model_type = family.model_type;
  const char* torch_dtype = dtype == DType::kBF16 ? "bfloat16" : "float32";
  Json json;
  json["architectures"] = {family.architecture};
  json["model_type"] = model_type;
  json["vocab_size"] = m.vocab_size;
  json["hidden_size"] = m.hidden_size;
  json["intermediate_size"] = m.intermediate_size;
  json["num_hidden_layers"] = m.num_hidden_layers;
  add_heads(m, json);
  if (m.is_moe()) add_experts(m, model_type, json);
  if (model_type == "deepseek_v3") json["num_nextn_predict_layers"] = extra_layers;
  json["hidden_act"] = "silu";
  json["attention_bias"] = false;
  json["attention_dropout"] = 0.0;
  if (model_type == "llama") json["mlp_bias"] = false;
  if (model_type == "mistral" || model_type == "mixtral")
    json["sliding_window"] = m.sliding_window > 0 ? Json(m.sliding_window) : Json(nullptr);
  json["max_position_embeddings"] = m.max_position_embeddings;
  json["rms_norm_eps"] = m.rms_norm_eps;
  json["initializer_range"] = m.initializer_range;
  json["tie_word_embeddings"] = m.tie_word_embeddings;
  add_rope(m, json);
  json["torch_dtype"] = torch_dtype;
  json["dtype"] = torch_dtype;
  json["use_cache"] = true;
  return json.dump(2) + "\n";
}

}  // namespace orthant
