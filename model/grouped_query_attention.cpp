// SPDX-License-Identifier: Apache-2.0
#include "model/grouped_query_attention.h"

#include <cmath>

#include "model/paged_attention.h"

namespace orthant {

namespace {

// Rows of q, k or v that belong to some of the heads.
DimPart rows_of_heads(const DimPart& heads, int64_t head_dim) {
  return {heads.begin * head_dim, heads.size * head_dim};
}

// The KV heads of this rank: those that its query heads use.
DimPart kv_heads_of(const TensorParallel& tensor, int64_t kv_heads) {
  const int64_t ranks = tensor.group().size();
  if (kv_heads >= ranks) return tensor.part(kv_heads);
  return {tensor.group().rank() * kv_heads / ranks, 1};
}

std::vector<WeightPart> query_part(const std::string& prefix, const ModelConfig& c,
                                   const TensorParallel& tensor) {
  return {{prefix + "q_proj.weight", c.num_attention_heads * c.head_dim,
           rows_of_heads(tensor.part(c.num_attention_heads), c.head_dim)}};
}

std::vector<WeightPart> key_value_parts(const std::string& prefix, const ModelConfig& c,
                                        const TensorParallel& tensor) {
  const DimPart heads = kv_heads_of(tensor, c.num_key_value_heads);
  return {{prefix + "k_proj.weight", c.num_key_value_heads * c.head_dim,
           rows_of_heads(heads, c.head_dim)},
          {prefix + "v_proj.weight", c.num_key_value_heads * c.v_head_dim,
           rows_of_heads(heads, c.v_head_dim)}};
}

bool copies_kv_heads(const TensorParallel& tensor, const ModelConfig& c) {
  return c.num_key_value_heads < tensor.group().size();
}

std::vector<WeightPart> fused_parts(const std::string& prefix, const ModelConfig& c,
                                    const TensorParallel& tensor) {
  std::vector<WeightPart> parts = query_part(prefix, c, tensor);
  if (copies_kv_heads(tensor, c)) return parts;
  for (WeightPart& part : key_value_parts(prefix, c, tensor)) parts.push_back(std::move(part));
  return parts;
}

}  // namespace

GroupedQueryAttention::GroupedQueryAttention(const LayerBuilder& build, const std::string& prefix,
                                             const ModelConfig& c, int64_t layer,
                                             const RotaryTable& rotary)
    : tensor_(build.tensor()),
      context_(build.ranks),
      shape_{.heads = tensor_.part(c.num_attention_heads).size,
             .kv_heads = kv_heads_of(tensor_, c.num_key_value_heads).size,
             .qk_dim = c.head_dim,
             .v_dim = c.v_head_dim,
             .window = c.window_of(layer),
             .scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim))},
      rotary_(rotary),
      qkv_(build, prefix + "qkv", c.hidden_size, fused_parts(prefix, c, tensor_),
           {.dtype = build.dtype, .has_bias = c.attention_bias, .input = prefix + "qkv"}),
      key_value_(copies_kv_heads(tensor_, c)
                     ? std::optional<Linear>(std::in_place, build, prefix + "kv", c.hidden_size,
                                             key_value_parts(prefix, c, tensor_),
                                             MatrixOptions{.dtype = build.dtype,
                                                           .replicas = Replicas::kKeyValue,
                                                           .has_bias = c.attention_bias,
                                                           .input = prefix + "qkv"})
                     : std::nullopt),
      out_(build, prefix + "o", c.num_attention_heads * c.v_head_dim,
           {{prefix + "o_proj.weight", c.hidden_size}},
           {.dtype = build.dtype,
            .own_in = rows_of_heads(tensor_.part(c.num_attention_heads), c.v_head_dim)}),
      norm_eps_(c.rms_norm_eps),
      norms_all_heads_(c.qk_norm_type == QkNorm::kPerLayer) {
  if (!c.use_qk_norm) return;
  // Each rank norms its own heads, so gradients are partial sums.
  const auto width = [&](int64_t heads) {
    return norms_all_heads_ ? heads * c.head_dim : c.head_dim;
  };
  query_norm_.emplace(build, prefix + "q_norm.weight", width(c.num_attention_heads), norm_eps_,
                      Replicas::kRows);
  key_norm_.emplace(build, prefix + "k_norm.weight", width(c.num_key_value_heads), norm_eps_,
                    Replicas::kRows);
}

Var GroupedQueryAttention::normed(const Var& qkv) const {
  if (!query_norm_) return qkv;
  const auto norm = [&](int64_t begin, int64_t heads, const RmsNorm& of) {
    return norms_all_heads_ ? HeadNorm{begin, 1, heads * shape_.qk_dim, &of.weight()}
                            : HeadNorm{begin, heads, shape_.qk_dim, &of.weight()};
  };
  const HeadNorm norms[] = {norm(0, shape_.heads, *query_norm_),
                            norm(shape_.q_end(), shape_.kv_heads, *key_norm_)};
  return norm_heads(qkv, norms, norm_eps_);
}

Var GroupedQueryAttention::project(const Var& x, const Tensor& positions) const {
  const Var all = tensor_.enter(x, positions.numel());
  const Var fused = qkv_.forward(all);
  const Var qkv = key_value_ ? join_columns(fused, key_value_->forward(all)) : fused;
  // q and k stand side by side in the product's rows, so one call turns both.
  return rotary(normed(qkv), positions, rotary_, shape_.heads + shape_.kv_heads, shape_.qk_dim);
}

Var GroupedQueryAttention::forward(const Var& x, const Pass& pass) const {
  const Var qkv = project(x, pass.positions);
  return tensor_.leave(out_.forward(context_.forward(qkv, pass, shape_)), pass.rows().num_local());
}

// Keys, already turned, and values.
CacheRow GroupedQueryAttention::cache_row() const {
  return {.parts = {{shape_.kv_heads, shape_.qk_dim, /*transposed=*/true},
                    {shape_.kv_heads, shape_.v_dim}},
          .dtype = out_.weight().dtype(),
          .device = out_.weight().device(),
          .window = shape_.window};
}

Var GroupedQueryAttention::decode(const Var& x, const DecodeStep& step, LayerCache& cache) const {
  const Tensor qkv = project(x, step.positions).value();
  const Tensor o =
      Tensor::empty({step.num_tokens(), shape_.heads * shape_.v_dim}, qkv.dtype(), qkv.device());
  if (!step.parts.empty()) {
    cache.extend(step);
    cache.put(step, qkv, {.begin = shape_.q_end(), .width = shape_.qk_dim, .part = 0});
    cache.put(step, qkv, {.begin = shape_.k_end(), .width = shape_.v_dim, .part = 1});
    attend_pages(shape_, qkv, cache, step.parts, /*values=*/1, o);
  }
  return tensor_.leave(out_.forward(Var(o)), step.num_tokens());
}

AttentionCounts GroupedQueryAttention::counts(const ModelConfig& c) {
  const int64_t q = c.num_attention_heads, kv = c.num_key_value_heads;
  int64_t vectors = 0;
  if (c.attention_bias) vectors += q * c.head_dim + kv * (c.head_dim + c.v_head_dim);
  if (c.use_qk_norm)
    vectors += c.qk_norm_type == QkNorm::kPerLayer ? (q + kv) * c.head_dim : 2 * c.head_dim;
  return {.parameters =
              c.hidden_size * (q * (c.head_dim + c.v_head_dim) + kv * (c.head_dim + c.v_head_dim)),
          .vectors = vectors,
          .per_key = q * (c.head_dim + c.v_head_dim)};
}

}  // namespace orthant
