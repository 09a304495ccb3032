// SPDX-License-Identifier: Apache-2.0
#include "model/attention.h"

#include <cmath>

#include "parallel/context/ring_attention.h"
#include "parallel/context/ulysses_attention.h"
#include "tensor/ops/call.h"

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

SelfAttention::SelfAttention(const LayerBuilder& build, const std::string& prefix,
                             const ModelConfig& c, int64_t layer)
    : tensor_(build.tensor()),
      context_(build.ranks.context),
      ulysses_(build.ranks.ulysses),
      shape_{.heads = tensor_.part(c.num_attention_heads).size,
             .kv_heads = kv_heads_of(tensor_, c.num_key_value_heads).size,
             .qk_dim = c.head_dim,
             .v_dim = c.v_head_dim,
             .window = c.window_of(layer),
             .scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim))},
      qkv_(build, prefix + "qkv", c.hidden_size, fused_parts(prefix, c, tensor_),
           {.dtype = build.dtype}),
      key_value_(copies_kv_heads(tensor_, c)
                     ? std::optional<Linear>(
                           std::in_place, build, prefix + "kv", c.hidden_size,
                           key_value_parts(prefix, c, tensor_),
                           LinearOptions{.dtype = build.dtype, .replicas = Replicas::kKeyValue})
                     : std::nullopt),
      out_(build, prefix + "o", c.num_attention_heads * c.v_head_dim,
           {{prefix + "o_proj.weight", c.hidden_size}},
           {.dtype = build.dtype,
            .own_in = rows_of_heads(tensor_.part(c.num_attention_heads), c.v_head_dim)}) {}

Var SelfAttention::project(const Var& x, int64_t rows) const {
  const Var all = tensor_.enter(x, rows);
  const Var fused = qkv_.forward(all);
  return key_value_ ? join_columns(fused, key_value_->forward(all)) : fused;
}

Var SelfAttention::attend(const Var& qkv, const Pass& pass) const {
  AttentionShape shape = shape_;
  shape.batch = pass.rows().sequences();
  return ulysses_ ? ulysses_attention(qkv, pass.whole_doc_start, shape, context_)
                  : ring_attention(qkv, pass.doc_start, shape, context_);
}

Var SelfAttention::forward(const Var& x, const Pass& pass, const RotaryTable& table) const {
  const int64_t rows = pass.rows().num_local();
  // q and k stand side by side in the product's rows, so one call turns both.
  const Var qkv = rotary(project(x, rows), pass.positions, table, shape_.heads + shape_.kv_heads,
                         shape_.qk_dim);
  return tensor_.leave(out_.forward(attend(qkv, pass)), rows);
}

Tensor SelfAttention::decode(const Tensor& x, int64_t batch, int64_t length, int64_t start,
                             int64_t capacity, LayerCache& cache, const RotaryTable& table) const {
  const int64_t rows = batch * length;
  std::vector<int32_t> positions(static_cast<size_t>(rows));
  for (size_t i = 0; i < positions.size(); ++i)
    positions[i] = static_cast<int32_t>(start + static_cast<int64_t>(i) % length);
  const Tensor qkv = rotary(project(Var(x), rows), Tensor::from_i32({rows}, positions, x.device()),
                            table, shape_.heads + shape_.kv_heads, shape_.qk_dim)
                         .value();
  const auto store = [&](int64_t begin, int64_t end, const Tensor& into) {
    for (int64_t b = 0; b < batch; ++b) {
      const Tensor from = qkv.slice(b * length, (b + 1) * length);
      const Tensor to = into.slice(b * capacity + start, b * capacity + start + length);
      ops::call(
          &Backend::cast, "cache", {&from, &to},
          CastArgs{.x = ops::columns_of(from, begin, end), .y = ops::view_of(to), .accumulate = 0});
    }
  };
  store(shape_.q_end(), shape_.k_end(), cache.k);
  store(shape_.k_end(), shape_.v_end(), cache.v);
  const Tensor o = Tensor::empty({rows, shape_.heads * shape_.v_dim}, x.dtype(), x.device());
  const Tensor lse = Tensor::empty({rows, shape_.heads}, wide_of(x.dtype()), x.device());
  AttentionShape shape = shape_;
  shape.batch = batch;
  AttentionArgs args = shape.args();
  args.q = ops::columns_of(qkv, 0, shape.q_end());
  args.k = ops::view_of(cache.k);
  args.v = ops::view_of(cache.v);
  args.o = ops::view_of(o);
  args.lse = ops::view_of(lse);
  args.q_len = args.q_stride = length;
  args.q_offset = start;
  args.kv_len = start + length;
  args.kv_stride = capacity;
  ops::call(&Backend::attention, "attention", {&qkv, &cache.k}, args);
  return tensor_.leave(out_.forward(Var(o)), rows).value();
}

}  // namespace orthant
