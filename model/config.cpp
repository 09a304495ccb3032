// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <algorithm>
#include <utility>

#include "base/problems.h"
#include "model/attention.h"

namespace orthant {

void LayerType::fields(FieldVisitor& v) {
  v.field("type", type, one_of({"full_attention", "sliding_attention"}),
          "sliding_attention: tokens see the last sliding_window tokens, themselves included");
}

const EnumNames<LatentForm>& latent_form_names() {
  static const EnumNames<LatentForm> names = {{LatentForm::kNaive, "naive"},
                                              {LatentForm::kAbsorbed, "absorbed"},
                                              {LatentForm::kCompared, "compared"}};
  return names;
}

const EnumNames<QkNorm>& qk_norm_names() {
  static const EnumNames<QkNorm> names = {{QkNorm::kPerHead, "per_head"},
                                          {QkNorm::kPerLayer, "per_layer"}};
  return names;
}

int64_t ModelConfig::rotary_dim() const {
  if (is_latent()) return qk_rope_head_dim;
  if (rotary_dim_given > 0) return rotary_dim_given;
  return static_cast<int64_t>(static_cast<double>(head_dim) * partial_rotary_factor);
}

void MergedAdapter::fields(FieldVisitor& v) {
  v.field("path", path, required_path(), "a PEFT folder or a run directory");
}

void Architecture::fields(FieldVisitor& v) {
  v.field("name", name, TextRule{.choices = built_architectures(), .why_not = why_not_built},
          "class of transformers");
}

namespace {

// What config.json files hold beside the fields.  What says nothing about what is computed is a
// remark; everything else is built with one value alone.
void foreign_keys(FieldVisitor& v) {
  for (const char* name : {"transformers_version", "transformers.js_config", "use_cache",
                           "bos_token_id", "eos_token_id", "pad_token_id", "auto_map",
                           "_name_or_path", "pretraining_tp", "ep_size", "is_llama_config"})
    v.foreign(name, remark());
  for (const char* name : {"torch_dtype", "dtype"})
    v.foreign(name, remark("precision says it for the whole run"));
  v.foreign("router_aux_loss_coef", remark("use moe.balance.expert"));

  v.foreign("hidden_act", neutral({"silu", "swish"}));
  for (const char* name : {"mlp_bias", "rope_interleaved"}) v.foreign(name, neutral({"false"}));
  v.foreign("attention_dropout", neutral({"0"}, "model.hidden_dropout is the only dropout"));
  v.foreign("router_jitter_noise", neutral({"0"}));
  for (const char* name : {"moe_layer_freq", "decoder_sparse_step"})
    v.foreign(name, neutral({"1"}, "all layers behind first_k_dense_replace have experts"));
  v.foreign("mlp_only_layers",
            neutral({"[]"}, "dense layers are the first ones, model.first_k_dense_replace"));
  v.foreign("seq_aux", neutral({"true"}));
  v.foreign("output_router_logits", neutral({"false"}, "moe.balance has the balance losses"));
  for (const char* name : {"shared_expert_intermediate_size", "shared_intermediate_size"})
    v.foreign(name, neutral({"0"}, "gated shared experts are not built"));
  v.foreign("use_routing_bias", neutral({"true"}));
  v.foreign("qk_head_dim", remark("qk_nope_head_dim and qk_rope_head_dim say it"));
  v.foreign("rope_interleave", neutral({"true"}, "orthant import puts such pairs in order"));
  v.foreign("quantization_config", not_built("quantised weights are not built; precision says "
                                             "what weights are kept in"));
  v.foreign("clip_qkv", not_built("queries, keys and values are not clipped"));
  for (const char* name : {"attn_logit_softcapping", "final_logit_softcapping"})
    v.foreign(name, not_built("soft caps are not built"));
  v.foreign("query_pre_attn_scalar", not_built("scores are divided by sqrt(head_dim)"));
  v.foreign("swiglu_limit", not_built("a clamped SwiGLU is not built"));
}

}  // namespace

void ModelConfig::fields(FieldVisitor& v) {
  v.may_change_on_resume([&] {
    v.field("from", from, any_path(),
            "begin with this model: a published model's folder, a run directory or one of its "
            "checkpoints; other keys of the block stand over what it says; empty: a new model");
  });
  v.list("adapters", adapters,
         "adapters that are merged into model.from first, one after the other: folders as PEFT "
         "saves them, or run directories that trained some; new ones train beside what this gives");
  v.field(
      "model_type", model_type, TextRule{.choices = built_families(), .why_not = why_not_built},
      "family of a published config.json; mixtral: scores of the chosen experts are divided by "
      "their sum, and experts have intermediate_size; qwen2: attention_bias; qwen3: use_qk_norm; "
      "deepseek_v3, glm4_moe: scoring_func sigmoid and topk_method noaux_tc; custom: what the "
      "other keys say");
  v.list("architectures", architectures, "says the family where model_type does not");
  v.field("vocab_size", vocab_size, at_least(2), "tokens of the vocabulary");
  v.field("hidden_size", hidden_size, at_least(1), "model width");
  v.field("intermediate_size", intermediate_size, at_least(0),
          "inner width of dense layers; 0 = 8/3 of hidden_size, rounded up to a multiple of 64");
  v.field("num_hidden_layers", num_hidden_layers, at_least(1), "transformer layers");
  v.field("num_attention_heads", num_attention_heads, at_least(1), "query heads");
  v.field("num_key_value_heads", num_key_value_heads, at_least(0),
          "key and value heads; 0 = num_attention_heads");
  v.field("head_dim", head_dim, at_least(0),
          "width of a query and key head; 0 = hidden_size / num_attention_heads");
  v.field("v_head_dim", v_head_dim, at_least(0),
          "width of a value head; 0 = head_dim, or qk_nope_head_dim of latent attention");
  v.field("kv_lora_rank", kv_lora_rank, at_least(0),
          "width of the latent of keys and values: multi-head latent attention (DeepSeek-V2); 0 = "
          "grouped-query attention");
  v.field("q_lora_rank", q_lora_rank, at_least(0),
          "width of the latent of queries, in latent attention; 0 or null = none");
  v.field("qk_nope_head_dim", qk_nope_head_dim, at_least(0),
          "width of the part of a query and key head that has no position, in latent attention");
  v.field("qk_rope_head_dim", qk_rope_head_dim, at_least(0),
          "width of the part that is turned by position, in latent attention");
  v.field("attention_bias", attention_bias,
          "biases of queries, keys and values (Qwen2, GLM-4.5); with model_type llama refused, "
          "which means one of the output too");
  v.field("use_qk_norm", use_qk_norm, "RMSNorm of queries and keys before they are turned");
  v.field("qk_norm_type", qk_norm_type, qk_norm_names(),
          "per_head: each head by itself, one weight for all (Qwen3); per_layer: all heads of a "
          "token as one (OLMoE, MiniMax-M2)");
  v.field("partial_rotary_factor", partial_rotary_factor,
          RealBounds{.low = 0.0, .high = 1.0, .low_open = true},
          "part of a query and key head, from its front, that is turned by position");
  v.field("rotary_dim", rotary_dim_given, at_least(0),
          "the same as a number of columns; 0 = by partial_rotary_factor");
  v.field("max_position_embeddings", max_position_embeddings, at_least(0),
          "longest sequence; 0 = batch.sequence_length");
  v.field("rope_theta", rope_theta, positive(), "base of the rotary embedding");
  v.block("rope_scaling", "Rotary embedding of texts longer than those before.",
          [this](FieldVisitor& inner) { rope_scaling.fields(inner); });
  v.field("rms_norm_eps", rms_norm_eps, positive(), "epsilon of RMSNorm");
  v.field("initializer_range", initializer_range, positive(),
          "standard deviation of initial weights");
  v.field("tie_word_embeddings", tie_word_embeddings, "one weight for embedding and head");
  v.field("sliding_window", sliding_window, at_least(0),
          "tokens that a token of a sliding layer sees, itself included; 0 or null = no limit");
  v.field("use_sliding_window", use_sliding_window, "false: no layer slides");
  v.list("layer_types", layer_types,
         "what each layer's tokens see; without it all layers slide where sliding_window is given, "
         "or go by sliding_window_pattern");
  v.field("sliding_window_pattern", sliding_window_pattern, at_least(0),
          "P = every P-th layer sees everything, the others slide; 0 = all slide");
  v.field("max_window_layers", max_window_layers, at_least(0),
          "leading layers that see everything, where the others slide (Qwen2)");
  v.field("hidden_dropout", hidden_dropout, below_one(),
          "dropout on the output of attention and feed-forward");
  v.field("num_nextn_predict_layers", num_nextn_predict_layers, between(0, 1),
          "layers behind the last that are trained to predict the token after the next "
          "(DeepSeek-V3): 0 or 1; evaluation and decoding do without");
  v.may_change_on_resume([&] {
    v.field("mtp_loss_weight", mtp_loss_weight, positive(),
            "factor of their loss (DeepSeek-V3: 0.3, then 0.1)");
  });
  v.field("n_routed_experts", n_routed_experts, at_least(0),
          "routed experts of an MoE layer; 0 = dense model");
  v.field("n_shared_experts", n_shared_experts, at_least(0), "experts that every token visits");
  v.field("num_experts_per_tok", num_experts_per_tok, at_least(0), "routed experts of a token");
  v.field("moe_intermediate_size", moe_intermediate_size, at_least(0), "inner width of an expert");
  v.field("first_k_dense_replace", first_k_dense_replace, at_least(0),
          "leading layers that stay dense");
  v.field("norm_topk_prob", norm_topk_prob, "divide the chosen scores by their sum");
  v.field("routed_scaling_factor", routed_scaling_factor, positive(),
          "factor on the routed experts' scores");
  v.field("scoring_func", scoring_func, score_names(),
          "scores of the experts from the router's logits (DeepSeek-V2: softmax, V3: sigmoid)");
  v.field("topk_method", topk_method, topk_method_names(),
          "greedy: the best scores; group_limited_greedy: within the topk_group best groups, by "
          "their best score (DeepSeek-V2); noaux_tc: likewise by their best two, after adding a "
          "learned bias (DeepSeek-V3)");
  v.field("n_group", n_group, at_least(1), "groups of consecutive experts");
  v.field("topk_group", topk_group, at_least(1), "groups that a token's experts may be in");
  v.field("aux_loss_alpha", aux_loss_alpha, RealBounds{.low = kOpen},
          "the same as moe.balance.expert, or moe.balance.sequence with noaux_tc, which override "
          "it; -1: not given");
  foreign_keys(v);
  v.alias("rope_parameters", "rope_scaling");
  v.alias("num_experts", "n_routed_experts");
  v.alias("num_local_experts", "n_routed_experts");
  v.alias("ffn_hidden_size", "intermediate_size");
  v.alias("num_layers", "num_hidden_layers");
  v.alias("mtp_num_layers", "num_nextn_predict_layers");
  v.alias("mtp_loss_scaling_factor", "mtp_loss_weight");
  v.alias("n_layer", "num_hidden_layers");
  v.alias("n_head", "num_attention_heads");
  v.alias("n_embd", "hidden_size");
}

void ModelConfig::resolve(int64_t sequence_length) {
  Problems problems;
  if (rope_scaling.rope_theta > 0) rope_theta = std::exchange(rope_scaling.rope_theta, 0.0);
  if (rope_scaling.partial_rotary_factor > 0)
    partial_rotary_factor = std::exchange(rope_scaling.partial_rotary_factor, 0.0);
  resolve_heads(problems);
  if (intermediate_size == 0) intermediate_size = (hidden_size * 8 / 3 + 63) / 64 * 64;
  resolve_family(problems);
  if (max_position_embeddings == 0) max_position_embeddings = sequence_length;
  rope_scaling.resolve(max_position_embeddings, problems);
  problems.want(sequence_length <= max_position_embeddings,
                "batch.sequence_length: ", sequence_length,
                " is longer than model.max_position_embeddings ", max_position_embeddings);
  problems.want(
      layer_types.empty() || static_cast<int64_t>(layer_types.size()) == num_hidden_layers,
      "model.layer_types: want one for each of ", num_hidden_layers, " layers, got ",
      layer_types.size());
  const bool has_sliding_layer =
      std::any_of(layer_types.begin(), layer_types.end(),
                  [](const LayerType& layer) { return layer.type == "sliding_attention"; });
  problems.want(
      !has_sliding_layer || sliding_window > 0 || !use_sliding_window,
      "model.sliding_window: want how many tokens a token of a sliding_attention layer sees, got "
      "0; set it, or make all model.layer_types full_attention");
  if (is_moe()) {
    problems.want(num_experts_per_tok >= 1 && num_experts_per_tok <= n_routed_experts,
                  "model.num_experts_per_tok: want 1 to ", n_routed_experts,
                  " (n_routed_experts), got ", num_experts_per_tok);
    problems.want(moe_intermediate_size >= 1,
                  "model.moe_intermediate_size: want the inner width of an expert, got 0");
    problems.want(first_k_dense_replace < num_hidden_layers,
                  "model.first_k_dense_replace: ", first_k_dense_replace, " leaves none of ",
                  num_hidden_layers,
                  " layers to the experts; set n_routed_experts: 0 for a dense model");
  } else {
    problems.want(
        n_shared_experts == 0 && num_experts_per_tok == 0,
        "model.n_routed_experts: want at least 1 where shared experts or num_experts_per_tok are "
        "given");
  }
  problems.raise();
}

void ModelConfig::resolve_heads(Problems& problems) {
  if (num_key_value_heads == 0) num_key_value_heads = num_attention_heads;
  if (is_latent()) return resolve_latent(problems);
  problems.want(q_lora_rank == 0 && qk_nope_head_dim == 0 && qk_rope_head_dim == 0,
                "model.kv_lora_rank: want the latent's width where q_lora_rank, qk_nope_head_dim "
                "or qk_rope_head_dim are given, got 0");
  if (head_dim == 0) {
    problems.want(hidden_size % num_attention_heads == 0, "model.hidden_size: ", hidden_size,
                  " is no multiple of ", num_attention_heads,
                  " attention heads; change one, or give model.head_dim");
    head_dim = hidden_size / num_attention_heads;
  }
  if (v_head_dim == 0) v_head_dim = head_dim;
  problems.want(rotary_dim() % 2 == 0 && rotary_dim() > 0 && rotary_dim() <= head_dim,
                rotary_dim_given > 0 ? "model.rotary_dim" : "model.head_dim",
                ": want an even number of columns for rotary pairs, at most head_dim ", head_dim,
                ", got ", rotary_dim());
  problems.want(num_attention_heads % num_key_value_heads == 0,
                "model.num_key_value_heads: ", num_key_value_heads, " does not divide ",
                num_attention_heads, " attention heads");
}

void ModelConfig::resolve_latent(Problems& problems) {
  problems.want(qk_nope_head_dim > 0 && qk_rope_head_dim > 0,
                "model.qk_nope_head_dim, model.qk_rope_head_dim: latent attention (kv_lora_rank ",
                kv_lora_rank, ") wants both widths, got ", qk_nope_head_dim, " and ",
                qk_rope_head_dim);
  problems.want(qk_rope_head_dim % 2 == 0,
                "model.qk_rope_head_dim: want an even number for rotary pairs, got ",
                qk_rope_head_dim);
  problems.want(num_key_value_heads == num_attention_heads,
                "model.num_key_value_heads: latent attention has as many as attention heads, ",
                num_attention_heads, ", got ", num_key_value_heads);
  problems.want(!attention_bias && !use_qk_norm,
                "model.kv_lora_rank: latent attention has neither attention_bias nor use_qk_norm");
  problems.want(partial_rotary_factor == 1.0 && rotary_dim_given == 0,
                "model.qk_rope_head_dim: says what is turned in latent attention; want neither "
                "partial_rotary_factor nor rotary_dim beside it");
  // transformers writes the rotated part alone as head_dim.
  const int64_t whole = qk_nope_head_dim + qk_rope_head_dim;
  problems.want(head_dim == 0 || head_dim == whole || head_dim == qk_rope_head_dim,
                "model.head_dim: want 0, or qk_nope_head_dim + qk_rope_head_dim ", whole, ", got ",
                head_dim);
  head_dim = whole;
  if (v_head_dim == 0) v_head_dim = qk_nope_head_dim;
}

void ModelConfig::resolve_family(Problems& problems) {
  for (const Architecture& architecture : architectures) {
    const std::string family = family_of(architecture.name);
    if (model_type == kCustomFamily) model_type = family;
    problems.want(is_of_family(architecture.name, model_type),
                  "model.architectures: ", architecture.name, " is of model_type ", family,
                  ", got ", model_type);
  }
  if (model_type == kCustomFamily) return;
  const FamilyRules& rules = rules_of(model_type);
  problems.want(is_latent() == rules.has_latent, "model.kv_lora_rank: a ", model_type,
                " model has ", rules.has_latent ? "latent attention, got none" : "none, got ",
                rules.has_latent ? "" : concat(kv_lora_rank, "; leave model_type out for another"));
  problems.want(
      is_moe() == rules.has_experts, "model.n_routed_experts: a ", model_type,
      rules.has_experts ? " model has experts, got none (num_local_experts in its config.json)"
                        : " model has none, got ",
      rules.has_experts ? "" : concat(n_routed_experts, "; leave model_type out for another"));
  problems.want(!attention_bias || rules.has_bias || rules.may_have_bias,
                "model.attention_bias: in a ", model_type,
                " model it means a bias of the output too, which is not built; want false");
  attention_bias = attention_bias || rules.has_bias;
  if (rules.norms_heads || rules.norms_all_heads) {
    use_qk_norm = true;
    qk_norm_type = rules.norms_all_heads ? QkNorm::kPerLayer : QkNorm::kPerHead;
  }
  if (rules.is_sigmoid) {  // which transformers leaves out of what it writes
    scoring_func = ScoreKind::kSigmoid;
    topk_method = TopkMethod::kNoAuxTc;
  }
  norm_topk_prob = norm_topk_prob || rules.normalizes;
  if (rules.uses_intermediate && moe_intermediate_size == 0)
    moe_intermediate_size = intermediate_size;
}

int64_t ModelConfig::window_of(int64_t layer) const {
  if (!use_sliding_window) return 0;
  layer = std::min(layer, num_hidden_layers - 1);  // what stands behind the last is like it
  if (!layer_types.empty())
    return layer_types[static_cast<size_t>(layer)].type == "sliding_attention" ? sliding_window : 0;
  const bool is_full = layer < max_window_layers ||
                       (sliding_window_pattern > 0 && (layer + 1) % sliding_window_pattern == 0);
  return is_full ? 0 : sliding_window;
}

namespace {

struct Counts {
  int64_t attention, norms, dense_ffn, expert, router, router_bias;
};

Counts counts_of(const ModelConfig& c) {
  return {.attention = attention_counts(c).parameters,
          .norms = 2 * c.hidden_size + attention_counts(c).vectors,
          .dense_ffn = 3 * c.hidden_size * c.intermediate_size,
          .expert = 3 * c.hidden_size * c.moe_intermediate_size,
          .router = c.hidden_size * c.n_routed_experts,
          .router_bias = c.has_router_bias() ? c.n_routed_experts : 0};
}

// Of eh_proj (model/mtp_layer.h).
int64_t join_parameters(const ModelConfig& c) { return 2 * c.hidden_size * c.hidden_size; }

// Parameters of a layer that a token meets.
int64_t active_in_layer(const ModelConfig& c, int64_t layer) {
  const Counts n = counts_of(c);
  return n.attention + (c.is_moe_layer(layer)
                            ? n.expert * (c.num_experts_per_tok + c.n_shared_experts) + n.router
                            : n.dense_ffn);
}

}  // namespace

int64_t active_matmul_parameters(const ModelConfig& c) {
  int64_t total = c.vocab_size * c.hidden_size;
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) total += active_in_layer(c, layer);
  return total;
}

int64_t total_parameters(const ModelConfig& c) {
  const Counts n = counts_of(c);
  int64_t total = c.vocab_size * c.hidden_size * (c.tie_word_embeddings ? 1 : 2) + c.hidden_size;
  for (int64_t layer = 0; layer < c.num_all_layers(); ++layer) {
    total += n.attention + n.norms;
    total += c.is_moe_layer(layer)
                 ? n.expert * (c.n_routed_experts + c.n_shared_experts) + n.router + n.router_bias
                 : n.dense_ffn;
  }
  const int64_t norms = 3 * c.hidden_size;
  return total + c.num_nextn_predict_layers * (norms + join_parameters(c));
}

double layer_flops_per_token(const ModelConfig& c, int64_t sequence_length, int64_t layer) {
  const auto length = static_cast<double>(sequence_length);
  const int64_t window = c.window_of(layer);
  const double most = window > 0 ? std::min(static_cast<double>(window), length) : length;
  const double keys = most - most * most / (2 * length);  // the first tokens see fewer
  const auto per_key = static_cast<double>(attention_counts(c).per_key);
  return 6.0 * (static_cast<double>(active_in_layer(c, layer)) + keys * per_key);
}

double flops_per_token(const ModelConfig& c, int64_t sequence_length) {
  double total = last_stage_flops_per_token(c, sequence_length);
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer)
    total += layer_flops_per_token(c, sequence_length, layer);
  return total;
}

double last_stage_flops_per_token(const ModelConfig& c, int64_t sequence_length) {
  const double head = 6.0 * static_cast<double>(c.vocab_size * c.hidden_size);
  if (c.num_nextn_predict_layers == 0) return head;
  return 2 * head + 6.0 * static_cast<double>(join_parameters(c)) +
         layer_flops_per_token(c, sequence_length, c.num_hidden_layers);
}

}  // namespace orthant
