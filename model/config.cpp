// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <algorithm>

#include "base/error.h"
#include "model/attention.h"

namespace orthant {

void LayerType::fields(FieldVisitor& v) {
  v.field("type", type, one_of({"full_attention", "sliding_attention"}),
          "sliding_attention: tokens see the last sliding_window tokens, themselves included");
}

void ModelConfig::fields(FieldVisitor& v) {
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
  v.field("v_head_dim", v_head_dim, at_least(0), "width of a value head; 0 = head_dim");
  v.field("max_position_embeddings", max_position_embeddings, at_least(0),
          "longest sequence; 0 = batch.sequence_length");
  v.field("rope_theta", rope_theta, positive(), "base of the rotary embedding");
  v.field("rms_norm_eps", rms_norm_eps, positive(), "epsilon of RMSNorm");
  v.field("initializer_range", initializer_range, positive(),
          "standard deviation of initial weights");
  v.field("tie_word_embeddings", tie_word_embeddings, "one weight for embedding and head");
  v.field("sliding_window", sliding_window, at_least(0),
          "tokens that a token of a sliding layer sees, itself included; 0 or null = no limit");
  v.field("use_sliding_window", use_sliding_window, "false: no layer slides");
  v.list(
      "layer_types",
      "what each layer's tokens see; without it all layers slide where sliding_window is given, or "
      "go by sliding_window_pattern",
      layer_types.size(), [this](size_t n) { layer_types.resize(n); },
      [this](size_t i, FieldVisitor& item) { layer_types[i].fields(item); });
  v.field("sliding_window_pattern", sliding_window_pattern, at_least(0),
          "P = every P-th layer sees everything, the others slide; 0 = all slide");
  v.field("hidden_dropout", hidden_dropout, below_one(),
          "dropout on the output of attention and feed-forward");
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
  v.field("scoring_func", scoring_func, one_of({"softmax", "sigmoid"}),
          "scores of the experts from the router's logits (DeepSeek-V2: softmax, V3: sigmoid)");
  v.field("topk_method", topk_method, one_of({"greedy", "group_limited_greedy", "noaux_tc"}),
          "greedy: the best scores; group_limited_greedy: within the topk_group best groups, by "
          "their best score (DeepSeek-V2); noaux_tc: likewise by their best two, after adding a "
          "learned bias (DeepSeek-V3)");
  v.field("n_group", n_group, at_least(1), "groups of consecutive experts");
  v.field("topk_group", topk_group, at_least(1), "groups that a token's experts may be in");
  v.field("aux_loss_alpha", aux_loss_alpha, RealBounds{.low = kOpen},
          "the same as moe.balance.expert, or moe.balance.sequence with noaux_tc, which override "
          "it; -1: not given");
  for (const char* name :
       {"architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "use_cache",
        "bos_token_id", "eos_token_id", "pad_token_id", "auto_map", "_name_or_path",
        "pretraining_tp", "ep_size"}) {
    v.foreign(name, {});
  }
  v.foreign("hidden_act", {"silu", "swish"});
  v.foreign("attention_bias", {"false"});
  v.foreign("mlp_bias", {"false"});
  v.foreign("attention_dropout", {"0", "0.0"});
  v.foreign("moe_layer_freq", {"1"});
  v.foreign("seq_aux", {"true"});
  v.foreign("rope_scaling", {""});  // null
  v.foreign("max_window_layers", {}, "model.layer_types");
  v.foreign("router_aux_loss_coef", {}, "moe.balance.expert");
  v.alias("num_experts", "n_routed_experts");
  v.alias("num_local_experts", "n_routed_experts");
  v.alias("ffn_hidden_size", "intermediate_size");
  v.alias("num_layers", "num_hidden_layers");
  v.alias("n_layer", "num_hidden_layers");
  v.alias("n_head", "num_attention_heads");
  v.alias("n_embd", "hidden_size");
}

void ModelConfig::resolve(int64_t sequence_length) {
  std::string problems;
  const auto want = [&](bool condition, const std::string& text) {
    if (!condition) problems += (problems.empty() ? "" : "\n") + text;
  };
  if (num_key_value_heads == 0) num_key_value_heads = num_attention_heads;
  if (head_dim == 0) {
    want(hidden_size % num_attention_heads == 0,
         concat("model.hidden_size: ", hidden_size, " is no multiple of ", num_attention_heads,
                " attention heads; change one, or give model.head_dim"));
    head_dim = hidden_size / num_attention_heads;
  }
  if (v_head_dim == 0) v_head_dim = head_dim;
  if (intermediate_size == 0) intermediate_size = (hidden_size * 8 / 3 + 63) / 64 * 64;
  if (max_position_embeddings == 0) max_position_embeddings = sequence_length;
  want(head_dim % 2 == 0,
       concat("model.head_dim: want an even number for rotary pairs, got ", head_dim));
  want(num_attention_heads % num_key_value_heads == 0,
       concat("model.num_key_value_heads: ", num_key_value_heads, " does not divide ",
              num_attention_heads, " attention heads"));
  want(sequence_length <= max_position_embeddings,
       concat("batch.sequence_length: ", sequence_length,
              " is longer than model.max_position_embeddings ", max_position_embeddings));
  want(layer_types.empty() || static_cast<int64_t>(layer_types.size()) == num_hidden_layers,
       concat("model.layer_types: want one for each of ", num_hidden_layers, " layers, got ",
              layer_types.size()));
  const bool has_sliding_layer =
      std::any_of(layer_types.begin(), layer_types.end(),
                  [](const LayerType& layer) { return layer.type == "sliding_attention"; });
  want(!has_sliding_layer || sliding_window > 0 || !use_sliding_window,
       "model.sliding_window: want how many tokens a token of a sliding_attention layer sees, got "
       "0; set it, or make all model.layer_types full_attention");
  if (is_moe()) {
    want(num_experts_per_tok >= 1 && num_experts_per_tok <= n_routed_experts,
         concat("model.num_experts_per_tok: want 1 to ", n_routed_experts,
                " (n_routed_experts), got ", num_experts_per_tok));
    want(moe_intermediate_size >= 1,
         "model.moe_intermediate_size: want the inner width of an expert, got 0");
    want(first_k_dense_replace < num_hidden_layers,
         concat("model.first_k_dense_replace: ", first_k_dense_replace, " leaves none of ",
                num_hidden_layers,
                " layers to the experts; set n_routed_experts: 0 for a dense model"));
  } else {
    want(n_shared_experts == 0 && num_experts_per_tok == 0,
         "model.n_routed_experts: want at least 1 where shared experts or num_experts_per_tok are "
         "given");
  }
  if (!problems.empty()) throw_error(ErrorKind::kConfig, problems);
}

int64_t ModelConfig::window_of(int64_t layer) const {
  if (!use_sliding_window) return 0;
  if (!layer_types.empty())
    return layer_types[static_cast<size_t>(layer)].type == "sliding_attention" ? sliding_window : 0;
  const bool is_full = sliding_window_pattern > 0 && (layer + 1) % sliding_window_pattern == 0;
  return is_full ? 0 : sliding_window;
}

namespace {

struct Counts {
  int64_t attention, dense_ffn, expert, router, router_bias;
};

Counts counts_of(const ModelConfig& c) {
  return {.attention = attention_counts(c).parameters,
          .dense_ffn = 3 * c.hidden_size * c.intermediate_size,
          .expert = 3 * c.hidden_size * c.moe_intermediate_size,
          .router = c.hidden_size * c.n_routed_experts,
          .router_bias = c.has_router_bias() ? c.n_routed_experts : 0};
}

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
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    total += n.attention + 2 * c.hidden_size;
    total += c.is_moe_layer(layer)
                 ? n.expert * (c.n_routed_experts + c.n_shared_experts) + n.router + n.router_bias
                 : n.dense_ffn;
  }
  return total;
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
  double total = 6.0 * static_cast<double>(c.vocab_size * c.hidden_size);
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer)
    total += layer_flops_per_token(c, sequence_length, layer);
  return total;
}

}  // namespace orthant
