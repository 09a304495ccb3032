// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/error.h"
#include "model/hub/hub_tensors.h"
#include "trainer/hub/gguf_model.h"

namespace orthant {
namespace {

struct Name {
  std::string_view theirs, ours;
};
constexpr Name kNames[] = {{"token_embd.weight", "model.embed_tokens.weight"},
                           {"output_norm.weight", "model.norm.weight"},
                           {"output.weight", "lm_head.weight"}};
constexpr std::string_view kTheirLayers = "blk.", kOurLayers = "model.layers.";
// Of a layer.  A star stands for the number of an expert, of which the tensor there holds all.
constexpr Name kLayerNames[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_q.bias", "self_attn.q_proj.bias"},
    {"attn_q_norm.weight", "self_attn.q_norm.weight"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_k.bias", "self_attn.k_proj.bias"},
    {"attn_k_norm.weight", "self_attn.k_norm.weight"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_v.bias", "self_attn.v_proj.bias"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"ffn_gate_inp.weight", "block_sparse_moe.gate.weight"},
    {"ffn_gate_exps.weight", "block_sparse_moe.experts.*.w1.weight"},
    {"ffn_up_exps.weight", "block_sparse_moe.experts.*.w3.weight"},
    {"ffn_down_exps.weight", "block_sparse_moe.experts.*.w2.weight"},
};

// "blk.3." of "blk.3.attn_q.weight", with "blk." as layers; "" where it does not begin so.
std::string_view layer_prefix(std::string_view name, std::string_view layers) {
  if (!name.starts_with(layers)) return "";
  size_t at = layers.size();
  while (at < name.size() && name[at] >= '0' && name[at] <= '9') ++at;
  return at > layers.size() && at < name.size() && name[at] == '.' ? name.substr(0, at + 1) : "";
}

// What a folder calls the tensor, with a star for experts; a name that nobody knows stays.
std::string our_name(std::string_view theirs) {
  for (const Name& name : kNames)
    if (name.theirs == theirs) return std::string(name.ours);
  const std::string_view prefix = layer_prefix(theirs, kTheirLayers);
  for (const Name& name : kLayerNames)
    if (!prefix.empty() && name.theirs == theirs.substr(prefix.size()))
      return concat(kOurLayers, prefix.substr(kTheirLayers.size()), name.ours);
  return std::string(theirs);
}

bool matches(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  const std::string_view before = pattern.substr(0, star), behind = pattern.substr(star + 1);
  return name.size() > before.size() + behind.size() && name.starts_with(before) &&
         name.ends_with(behind);
}

std::string their_name(std::string_view ours) {
  for (const Name& name : kNames)
    if (name.ours == ours) return std::string(name.theirs);
  const std::string_view prefix = layer_prefix(ours, kOurLayers);
  for (const Name& name : kLayerNames)
    if (!prefix.empty() && matches(name.ours, ours.substr(prefix.size())))
      return concat(kTheirLayers, prefix.substr(kOurLayers.size()), name.theirs);
  return std::string(ours);
}

class GgufTensors final : public TensorSource {
 public:
  explicit GgufTensors(std::unique_ptr<const GgufReader> file)
      : file_(std::move(file)),
        head_rows_(gguf_architecture(*file_).pairs_rows ? gguf_head_dim(*file_) : 0) {
    for (const GgufTensor& tensor : file_->tensors())
      if (tensor.name != kGgufRopeFactors) add(tensor);
  }

  const std::string& path() const override { return file_->path(); }
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, place] : tensors_) names.push_back(name);
    return names;
  }
  const SafetensorsEntry* find(const std::string& name) const override {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second.entry;
  }
  std::string place_of(const std::string& name) const override {
    return concat(path(), ": tensor ", their_name(name));
  }

  void read(const std::string& name, int64_t offset, void* to, int64_t bytes) const override {
    const Place& place = tensors_.at(name);
    const Shape& shape = place.entry.shape;
    ORTHANT_CHECK(0 <= offset && 0 <= bytes && bytes <= place.entry.end - offset, kInternal,
                  place_of(name), ": bytes ", offset, " to ", offset + bytes, " wanted, it has ",
                  place.entry.end);
    if (offset != 0 || bytes != place.entry.end) {
      std::string all(static_cast<size_t>(place.entry.end), '\0');
      read(name, 0, all.data(), place.entry.end);
      std::memcpy(to, all.data() + offset, static_cast<size_t>(bytes));
      return;
    }
    file_->read(*place.tensor, place.first_elem, shape.numel(), to);
    if (place.is_paired) {
      ORTHANT_CHECK(shape[0] % head_rows_ == 0, kData, place_of(name), ": want whole heads of ",
                    head_rows_, " rows, got ", shape.text());
      reorder_rows(HubDirection::kIn, {.head_rows = head_rows_, .count = head_rows_}, shape[0],
                   place.entry.end / shape[0], static_cast<char*>(to));
    }
  }

 private:
  struct Place {
    SafetensorsEntry entry;
    const GgufTensor* tensor;
    int64_t first_elem = 0;
    bool is_paired = false;
  };

  void add(const GgufTensor& tensor) {
    const std::string name = our_name(tensor.name);
    const size_t star = name.find('*');
    if (star == std::string::npos) return add(tensor, name, tensor.shape, 0);
    const auto* experts =
        file_->value<int64_t>(concat(gguf_architecture(*file_).name, ".expert_count"));
    ORTHANT_CHECK(experts && tensor.shape.rank() == 3 && tensor.shape[0] == *experts, kData,
                  place_of(name), ": want one matrix for each of ", experts ? *experts : 0,
                  " experts (expert_count), got ", tensor.shape.text());
    const Shape one = {tensor.shape[1], tensor.shape[2]};
    for (int64_t i = 0; i < *experts; ++i)
      add(tensor, concat(name.substr(0, star), i, name.substr(star + 1)), one, i * one.numel());
  }
  void add(const GgufTensor& tensor, const std::string& name, const Shape& shape, int64_t first) {
    const DType dtype = tensor.format->dtype;
    const bool turns =
        name.ends_with("self_attn.q_proj.weight") || name.ends_with("self_attn.k_proj.weight");
    const auto [at, is_new] = tensors_.try_emplace(
        name, Place{.entry = {.name = name,
                              .dtype = dtype,
                              .shape = shape,
                              .end = safetensors_bytes(shape, dtype, place_of(name))},
                    .tensor = &tensor,
                    .first_elem = first,
                    .is_paired = head_rows_ > 0 && turns && shape.rank() == 2});
    ORTHANT_CHECK(is_new, kData, path(), ": tensor ", tensor.name, " is ", at->second.tensor->name,
                  " by another name");
  }

  std::unique_ptr<const GgufReader> file_;
  int64_t head_rows_;  // of queries and keys whose rows are paired; 0: none are
  std::map<std::string, Place> tensors_;
};

}  // namespace

std::unique_ptr<TensorSource> gguf_tensors(std::unique_ptr<const GgufReader> file) {
  return std::make_unique<GgufTensors>(std::move(file));
}

GgufModel open_gguf_model(const std::string& path) {
  auto file = std::make_unique<const GgufReader>(path);
  GgufModel model;
  model.files["config.json"] = gguf_config(*file);
  model.files["generation_config.json"] = gguf_generation_config(*file);
  model.files["tokenizer.json"] = gguf_tokenizer(*file);
  model.files["tokenizer_config.json"] = gguf_tokenizer_config(*file);
  model.tensors = gguf_tensors(std::move(file));
  return model;
}

}  // namespace orthant
