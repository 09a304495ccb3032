// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/problems.h"
#include "checkpoint/file_io.h"
#include "checkpoint/json_strict.h"
#include "trainer/hub/hub_config.h"

namespace orthant {
namespace {

using Json = nlohmann::ordered_json;

// What a family of transformers computes beside its rules (model/family.h).
struct Writable {
  const char *model_type, *architecture;
  bool has_windows = false;       // in all layers
  bool may_have_windows = false;  // in all layers, or none
  bool may_have_shared = false;   // experts
  bool may_begin_dense = false;   // layers without experts first
  bool may_scale = false;         // the routed experts' scores
  bool may_normalize = false;     // the chosen scores, as norm_topk_prob says
  bool may_turn_a_part = false;   // of a head
  bool may_norm_heads = false;    // as use_qk_norm says
  bool may_lack_query_latent = false;
  bool may_predict_further = false;  // layers for multi-token prediction
};
constexpr Writable kFamilies[] = {
    {.model_type = "llama", .architecture = "LlamaForCausalLM"},
    {.model_type = "mistral", .architecture = "MistralForCausalLM", .has_windows = true},
    {.model_type = "mixtral", .architecture = "MixtralForCausalLM", .may_have_windows = true},
    {.model_type = "qwen2", .architecture = "Qwen2ForCausalLM"},
    {.model_type = "qwen3", .architecture = "Qwen3ForCausalLM"},
    {.model_type = "qwen3_moe", .architecture = "Qwen3MoeForCausalLM", .may_normalize = true},
    {.model_type = "olmoe", .architecture = "OlmoeForCausalLM", .may_normalize = true},
    {.model_type = "minimax_m2", .architecture = "MiniMaxM2ForCausalLM", .may_turn_a_part = true},
    {.model_type = "glm4_moe",
     .architecture = "Glm4MoeForCausalLM",
     .may_have_shared = true,
     .may_begin_dense = true,
     .may_scale = true,
     .may_normalize = true,
     .may_turn_a_part = true,
     .may_norm_heads = true,
     .may_predict_further = true},
    {.model_type = "deepseek_v2",
     .architecture = "DeepseekV2ForCausalLM",
     .may_have_shared = true,
     .may_begin_dense = true,
     .may_scale = true,
     .may_lack_query_latent = true},
    {.model_type = "deepseek_v3",
     .architecture = "DeepseekV3ForCausalLM",
     .may_have_shared = true,
     .may_begin_dense = true,
     .may_scale = true,
     .may_normalize = true,
     .may_predict_further = true},
    {.model_type = "glm4_moe_lite",
     .architecture = "Glm4MoeLiteForCausalLM",
     .may_have_shared = true,
     .may_begin_dense = true,
     .may_scale = true,
     .may_normalize = true,
     .may_predict_further = true},
};

bool all_layers_have_window(const ModelConfig& m, int64_t window) {
  for (int64_t layer = 0; layer < m.num_hidden_layers; ++layer)
    if (m.window_of(layer) != window) return false;
  return true;
}

void check_experts(const ModelConfig& m, const Writable& family, const FamilyRules& rules,
                   Problems& problems) {
  problems.want((m.scoring_func == ScoreKind::kSigmoid) == rules.is_sigmoid &&
                    m.has_router_bias() == rules.is_sigmoid,
                rules.is_sigmoid ? "scores other than sigmoid with a selection bias"
                                 : "sigmoid scores or a selection bias");
  problems.want(m.n_shared_experts == 0 || family.may_have_shared, "shared experts");
  problems.want(m.first_k_dense_replace == 0 || family.may_begin_dense, "layers without experts");
  problems.want(m.routed_scaling_factor == 1.0 || family.may_scale, "a routed_scaling_factor");
  problems.want(m.norm_topk_prob == rules.normalizes || family.may_normalize,
                m.norm_topk_prob ? "chosen scores that are divided by their sum"
                                 : "chosen scores that are not divided by their sum");
  problems.want(m.n_group == 1 || rules.has_latent || family.may_norm_heads, "groups of experts");
}

// What the model has that the family has not, a line each.
Problems lacking(const ModelConfig& m, const Writable& family) {
  const FamilyRules& rules = rules_of(family.model_type);
  Problems problems;
  problems.want(m.is_latent() == rules.has_latent,
                m.is_latent() ? "latent attention" : "no latent attention");
  problems.want(m.is_moe() == rules.has_experts, m.is_moe() ? "experts" : "no experts");
  problems.want(m.attention_bias == rules.has_bias || (m.attention_bias && rules.may_have_bias),
                m.attention_bias ? "biases of queries, keys and values" : "no such biases");
  const bool wants_norms = rules.norms_heads || rules.norms_all_heads;
  problems.want(m.use_qk_norm == wants_norms || (m.use_qk_norm && family.may_norm_heads),
                m.use_qk_norm ? "norms of queries and keys" : "no norms of queries and keys");
  problems.want(!m.use_qk_norm || (m.qk_norm_type == QkNorm::kPerLayer) == rules.norms_all_heads,
                "norms of another kind");
  problems.want(m.is_latent() || m.v_head_dim == m.head_dim,
                "value heads of another width than key heads");
  problems.want(!m.is_latent() || m.q_lora_rank > 0 || family.may_lack_query_latent,
                "queries without a latent");
  problems.want(m.is_latent() || m.rotary_dim() == m.head_dim || family.may_turn_a_part,
                "heads of which a part is turned");
  problems.want(m.num_nextn_predict_layers == 0 || family.may_predict_further,
                "a layer for multi-token prediction");
  const bool none = all_layers_have_window(m, 0);
  const bool all = m.sliding_window > 0 && all_layers_have_window(m, m.sliding_window);
  problems.want(family.has_windows        ? all
                : family.may_have_windows ? all || none
                                          : none,
                family.has_windows ? "windows in some layers, or in none" : "windows");
  if (m.is_moe() && rules.has_experts) check_experts(m, family, rules, problems);
  return problems;
}

// transformers knows Kimi K2 by its architecture alone.
bool is_candidate(const ModelConfig& m, const Writable& family) {
  const std::string wanted = m.model_type == "kimi_k2" ? "deepseek_v3" : m.model_type;
  return wanted == kCustomFamily || wanted == family.model_type;
}

const Writable& family_for(const ModelConfig& m) {
  std::string why;
  for (const Writable& family : kFamilies) {
    if (!is_candidate(m, family)) continue;
    const Problems problems = lacking(m, family);
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
  if (!m.is_latent() && m.rotary_dim() != m.head_dim) {
    const double factor = static_cast<double>(m.rotary_dim()) / static_cast<double>(m.head_dim);
    json["partial_rotary_factor"] = factor;
    json["rotary_dim"] = m.rotary_dim();
    rope["partial_rotary_factor"] = factor;
  }
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

void add_experts(const ModelConfig& m, const Writable& family, Json& json) {
  const FamilyRules& rules = rules_of(family.model_type);
  const std::string type = family.model_type;
  json["num_experts_per_tok"] = m.num_experts_per_tok;
  const char* count = type == "mixtral" || type == "minimax_m2" ? "num_local_experts"
                      : type == "qwen3_moe" || type == "olmoe"  ? "num_experts"
                                                                : "n_routed_experts";
  json[count] = m.n_routed_experts;
  if (rules.uses_intermediate) {
    json["intermediate_size"] = m.moe_intermediate_size;
  } else {
    json["moe_intermediate_size"] = m.moe_intermediate_size;
  }
  if (family.may_normalize || family.may_scale) json["norm_topk_prob"] = m.norm_topk_prob;
  if (type == "qwen3_moe") {
    json["decoder_sparse_step"] = 1;
    json["mlp_only_layers"] = Json::array();
  }
  if (rules.is_sigmoid) json["scoring_func"] = score_names().of(m.scoring_func);
  if (!family.may_begin_dense) return;
  json["n_shared_experts"] = m.n_shared_experts;
  json["first_k_dense_replace"] = m.first_k_dense_replace;
  json["routed_scaling_factor"] = m.routed_scaling_factor;
  json["topk_method"] = topk_method_names().of(m.topk_method);
  json["scoring_func"] = score_names().of(m.scoring_func);
  json["n_group"] = m.n_group;
  json["topk_group"] = m.topk_group;
}

}  // namespace

TokenIds token_ids_of(const std::string& folder) {
  TokenIds ids;
  const std::string path = folder + "/config.json";
  const nlohmann::json config = parse_json(read_text_file(path, int64_t{1} << 24), path);
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"})
    if (const auto found = config.find(key); found != config.end()) ids[key] = found->dump();
  return ids;
}

TokenIds token_ids_of(const Tokenizer& tokenizer) {
  const SpecialIds special = tokenizer.special_ids();
  const auto text = [](int32_t id) { return id < 0 ? "null" : std::to_string(id); };
  return {{"bos_token_id", text(special.bos)},
          {"eos_token_id", text(tokenizer.end_of_document())},
          {"pad_token_id", text(special.pad)}};
}

std::string hub_config_text(const ModelConfig& m, DType dtype, int64_t extra_layers,
                            const TokenIds& ids) {
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
  if (m.is_moe()) add_experts(m, family, json);
  if (family.may_predict_further) json["num_nextn_predict_layers"] = extra_layers;
  json["hidden_act"] = "silu";
  if (model_type != "qwen2") json["attention_bias"] = m.attention_bias;
  if (family.may_norm_heads) json["use_qk_norm"] = m.use_qk_norm;
  if (model_type == "qwen2") json["use_sliding_window"] = false;
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
  for (const auto& [key, text] : ids) json[key] = Json::parse(text);
  return json.dump(2) + "\n";
}

}  // namespace orthant
