// SPDX-License-Identifier: Apache-2.0
#include "model/hub/hub_tensors.h"

#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace orthant {
namespace {

constexpr std::string_view kLayers = "model.layers.", kExperts = "mlp.experts.";

// A number at the front of the text, and what follows it.
std::optional<int64_t> take_number(std::string_view& text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

// "model.layers.3.", and what a layer calls the tensor.
struct LayerName {
  std::string prefix;
  std::string_view own;
  int64_t layer = 0;
};
std::optional<LayerName> layer_name(std::string_view name) {
  if (!name.starts_with(kLayers)) return std::nullopt;
  std::string_view rest = name.substr(kLayers.size());
  const std::optional<int64_t> layer = take_number(rest);
  if (!layer || !rest.starts_with('.')) return std::nullopt;
  rest.remove_prefix(1);
  return LayerName{std::string(name.substr(0, name.size() - rest.size())), rest, *layer};
}

// "experts.17.gate_proj.weight" of a layer.
struct ExpertName {
  int64_t expert = 0;
  std::string_view part;  // "gate_proj"
};
std::optional<ExpertName> expert_name(std::string_view own) {
  if (!own.starts_with(kExperts)) return std::nullopt;
  own.remove_prefix(kExperts.size());
  const std::optional<int64_t> expert = take_number(own);
  constexpr std::string_view kEnd = ".weight";
  if (!expert || !own.starts_with('.') || !own.ends_with(kEnd)) return std::nullopt;
  return ExpertName{*expert, own.substr(1, own.size() - 1 - kEnd.size())};
}

// Families whose folders call a layer's tensors otherwise.  An expert's number stands where the
// star is.
struct Rename {
  std::string_view model_type, ours, theirs;
};
constexpr std::array kRenames = {
    Rename{"mixtral", "mlp.gate.weight", "block_sparse_moe.gate.weight"},
    Rename{"mixtral", "mlp.experts.*.gate_proj.weight", "block_sparse_moe.experts.*.w1.weight"},
    Rename{"mixtral", "mlp.experts.*.up_proj.weight", "block_sparse_moe.experts.*.w3.weight"},
    Rename{"mixtral", "mlp.experts.*.down_proj.weight", "block_sparse_moe.experts.*.w2.weight"},
    Rename{"minimax_m2", "mlp.gate.weight", "block_sparse_moe.gate.weight"},
    Rename{"minimax_m2", "mlp.gate.e_score_correction_bias",
           "block_sparse_moe.e_score_correction_bias"},
    Rename{"minimax_m2", "mlp.experts.*.gate_proj.weight", "block_sparse_moe.experts.*.w1.weight"},
    Rename{"minimax_m2", "mlp.experts.*.up_proj.weight", "block_sparse_moe.experts.*.w3.weight"},
    Rename{"minimax_m2", "mlp.experts.*.down_proj.weight", "block_sparse_moe.experts.*.w2.weight"},
};

std::string with_expert(std::string_view pattern, int64_t expert) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return std::string(pattern);
  return concat(pattern.substr(0, star), expert, pattern.substr(star + 1));
}

// All experts of a layer in one tensor, as transformers 5 holds them: [E, 2 I, H] of gate and up,
// [E, H, I] of down.
HubSource fused_source(const ModelConfig& model, const std::string& prefix, const ExpertName& name,
                       const Shape& shape) {
  const int64_t numel = shape.numel();
  if (name.part == "down_proj")
    return {concat(prefix, kExperts, "down_proj"),
            {model.n_routed_experts, shape[0], shape[1]},
            name.expert * numel};
  return {concat(prefix, kExperts, "gate_up_proj"),
          {model.n_routed_experts, 2 * shape[0], shape[1]},
          (2 * name.expert + (name.part == "up_proj" ? 1 : 0)) * numel};
}

RotaryRows rotary_rows(const ModelConfig& model, std::string_view own) {
  if (!model.is_latent()) return {};
  const int64_t rope = model.qk_rope_head_dim;
  if (own == "self_attn.q_proj.weight" || own == "self_attn.q_b_proj.weight")
    return {model.qk_nope_head_dim + rope, model.qk_nope_head_dim, rope};
  if (own == "self_attn.kv_a_proj_with_mqa.weight")
    return {model.kv_lora_rank + rope, model.kv_lora_rank, rope};
  return {};
}

}  // namespace

HubTensor hub_tensor(const ModelConfig& model, const std::string& name, const Shape& shape) {
  HubTensor tensor;
  const std::optional<LayerName> in_layer = layer_name(name);
  if (!in_layer) return {.sources = {{name, shape}}};
  const std::optional<ExpertName> expert = expert_name(in_layer->own);
  for (const Rename& rename : kRenames) {
    const std::string ours = with_expert(rename.ours, expert ? expert->expert : 0);
    if (rename.model_type == model.model_type && in_layer->own == ours)
      tensor.sources.push_back(
          {in_layer->prefix + with_expert(rename.theirs, expert ? expert->expert : 0), shape});
  }
  tensor.sources.push_back({name, shape});
  if (expert) tensor.sources.push_back(fused_source(model, in_layer->prefix, *expert, shape));
  tensor.rotary = rotary_rows(model, in_layer->own);
  return tensor;
}

bool is_hub_buffer(const std::string& name) { return name.ends_with("rotary_emb.inv_freq"); }

bool is_beyond_layers(const ModelConfig& model, const std::string& name) {
  const std::optional<LayerName> in_layer = layer_name(name);
  return in_layer && in_layer->layer >= model.num_all_layers();
}

std::vector<HubCopy> hub_copies(const ModelConfig& model) {
  if (model.num_nextn_predict_layers == 0) return {};
  const std::string prefix = concat(kLayers, model.num_hidden_layers, ".");
  const std::string embedding = "model.embed_tokens.weight";
  return {{prefix + "embed_tokens.weight", embedding},
          {prefix + "shared_head.head.weight",
           model.tie_word_embeddings ? embedding : "lm_head.weight"}};
}

void reorder_rows(HubDirection direction, const RotaryRows& rotary, int64_t rows, int64_t row_bytes,
                  char* data) {
  if (rotary.count == 0) return;
  ORTHANT_CHECK(rows % rotary.head_rows == 0, kInternal, "rotary rows: ", rows,
                " rows are no whole heads of ", rotary.head_rows);
  const int64_t half = rotary.count / 2;
  std::vector<char> copy(static_cast<size_t>(rotary.count * row_bytes));
  for (int64_t head = 0; head < rows; head += rotary.head_rows) {
    char* begin = data + (head + rotary.begin) * row_bytes;
    std::memcpy(copy.data(), begin, copy.size());
    for (int64_t i = 0; i < rotary.count; ++i) {
      const int64_t paired = i < half ? 2 * i : 2 * (i - half) + 1;  // where our row i is there
      const int64_t from = direction == HubDirection::kIn ? paired : i;
      const int64_t to = direction == HubDirection::kIn ? i : paired;
      std::memcpy(begin + to * row_bytes, copy.data() + from * row_bytes,
                  static_cast<size_t>(row_bytes));
    }
  }
}

}  // namespace orthant
