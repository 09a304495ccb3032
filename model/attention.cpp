// SPDX-License-Identifier: Apache-2.0
#include "model/attention.h"

#include <cmath>

#include "tensor/ops/call.h"

namespace orthant {

SelfAttention::SelfAttention(const LayerBuilder& build, const std::string& prefix,
                             const ModelConfig& c, int64_t layer)
    : shape_{.heads = c.num_attention_heads,
             .kv_heads = c.num_key_value_heads,
             .qk_dim = c.head_dim,
             .v_dim = c.v_head_dim,
             .window = c.window_of(layer),
             .scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim))},
      qkv_(build, prefix + "qkv", c.hidden_size,
           {{prefix + "q_proj.weight", c.num_attention_heads * c.head_dim},
            {prefix + "k_proj.weight", c.num_key_value_heads * c.head_dim},
            {prefix + "v_proj.weight", c.num_key_value_heads * c.v_head_dim}},
           build.dtype),
      out_(build, prefix + "o", c.num_attention_heads * c.v_head_dim,
           {{prefix + "o_proj.weight", c.hidden_size}}, build.dtype) {}

Var SelfAttention::forward(const Var& x, int64_t batch, const Tensor& positions,
                           const Tensor& doc_start, const RotaryTable& table) const {
  AttentionShape shape = shape_;
  shape.batch = batch;
  // q and k stand side by side in the product's rows, so one call turns both.
  const Var qkv =
      rotary(qkv_.forward(x), positions, table, shape.heads + shape.kv_heads, shape.qk_dim);
  return out_.forward(attention(qkv, doc_start, shape));
}

Tensor SelfAttention::decode(const Tensor& x, int64_t batch, int64_t start, int64_t capacity,
                             LayerCache& cache, const RotaryTable& table) const {
  const int64_t length = x.dim(0) / batch;
  std::vector<int32_t> positions(static_cast<size_t>(x.dim(0)));
  for (size_t i = 0; i < positions.size(); ++i)
    positions[i] = static_cast<int32_t>(start + static_cast<int64_t>(i) % length);
  const Tensor qkv =
      rotary(qkv_.forward(Var(x)), Tensor::from_i32({x.dim(0)}, positions, x.device()), table,
             shape_.heads + shape_.kv_heads, shape_.qk_dim)
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
  const Tensor o = Tensor::empty({x.dim(0), shape_.heads * shape_.v_dim}, x.dtype(), x.device());
  const Tensor lse = Tensor::empty({x.dim(0), shape_.heads}, wide_of(x.dtype()), x.device());
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
  return out_.forward(Var(o)).value();
}

}  // namespace orthant
