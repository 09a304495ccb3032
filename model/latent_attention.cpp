// SPDX-License-Identifier: Apache-2.0
#include "model/latent_attention.h"

#include <cmath>

#include "model/rope_scaling.h"
#include "tensor/ops/call.h"

namespace orthant {

namespace {

constexpr double kNormEps = 1e-6;  // of published models, whatever their rms_norm_eps

DimPart widened(const DimPart& heads, int64_t width) {
  return {heads.begin * width, heads.size * width};
}

std::vector<WeightPart> down_parts(const std::string& prefix, const ModelConfig& c) {
  const WeightPart latent{prefix + "kv_a_proj_with_mqa.weight",
                          c.kv_lora_rank + c.qk_rope_head_dim};
  if (c.q_lora_rank == 0) return {latent};
  return {{prefix + "q_a_proj.weight", c.q_lora_rank}, latent};
}

// c = a b^T, or c = a b; views of rows.
void product(const Tensor& like, const View& a, const View& b, bool trans_b, const View& c) {
  ops::call(&Backend::matmul, "absorbed attention", {&like},
            MatmulArgs{.a = a, .b = b, .c = c, .trans_b = trans_b});
}

}  // namespace

LatentAttention::LatentAttention(const LayerBuilder& build, const std::string& prefix,
                                 const ModelConfig& c, int64_t layer, const RotaryTable& rotary)
    : tensor_(build.tensor()),
      context_(build.ranks),
      query_rank_(c.q_lora_rank),
      latent_rank_(c.kv_lora_rank),
      heads_{.heads = tensor_.part(c.num_attention_heads).size,
             .nope_dim = c.qk_nope_head_dim,
             .rope_dim = c.qk_rope_head_dim,
             .v_dim = c.v_head_dim},
      shape_{.heads = heads_.heads,
             .kv_heads = heads_.heads,
             .qk_dim = heads_.qk_dim(),
             .v_dim = heads_.v_dim,
             .window = c.window_of(layer),
             .scale = c.rope_scaling.latent_softmax_factor() /
                      std::sqrt(static_cast<double>(heads_.qk_dim()))},
      rotary_(rotary),
      down_(build, prefix + "down", c.hidden_size, down_parts(prefix, c),
            {.dtype = build.dtype, .replicas = build.stream_replicas()}),
      // Norms follow behind the entrance to the heads, so their gradients are partial sums.
      query_norm_(query_rank_ > 0 ? std::optional<RmsNorm>(std::in_place, build,
                                                           prefix + "q_a_layernorm.weight",
                                                           query_rank_, kNormEps, Replicas::kRows)
                                  : std::nullopt),
      latent_norm_(build, prefix + "kv_a_layernorm.weight", latent_rank_, kNormEps,
                   Replicas::kRows),
      query_(build, prefix + "q_up", query_rank_ > 0 ? query_rank_ : c.hidden_size,
             {{prefix + (query_rank_ > 0 ? "q_b_proj.weight" : "q_proj.weight"),
               c.num_attention_heads * heads_.qk_dim(),
               widened(tensor_.part(c.num_attention_heads), heads_.qk_dim())}},
             {.dtype = build.dtype}),
      key_value_(build, prefix + "kv_up", latent_rank_,
                 {{prefix + "kv_b_proj.weight", c.num_attention_heads * heads_.kv_dim(),
                   widened(tensor_.part(c.num_attention_heads), heads_.kv_dim())}},
                 {.dtype = build.dtype}),
      out_(build, prefix + "o", c.num_attention_heads * heads_.v_dim,
           {{prefix + "o_proj.weight", c.hidden_size}},
           {.dtype = build.dtype,
            .own_in = widened(tensor_.part(c.num_attention_heads), heads_.v_dim)}) {}

LatentAttention::Projected LatentAttention::project(const Var& x, const Tensor& positions) const {
  const int64_t rows = positions.numel(), latent_end = query_rank_ + latent_rank_;
  const Var down = tensor_.enter(down_.forward(x), rows);
  const Var query =
      query_norm_ ? query_norm_->forward(columns(down, 0, query_rank_)) : tensor_.enter(x, rows);
  return {.query = rotary(query_.forward(query), positions, rotary_, heads_.heads, heads_.qk_dim(),
                          heads_.nope_dim),
          .latent = latent_norm_.forward(columns(down, query_rank_, latent_end)),
          .shared = rotary(columns(down, latent_end, latent_end + heads_.rope_dim), positions,
                           rotary_, 1, heads_.rope_dim)};
}

Var LatentAttention::forward(const Var& x, const Pass& pass) const {
  const Projected p = project(x, pass.positions);
  const Var qkv = latent_qkv(p.query, key_value_.forward(p.latent), p.shared, heads_);
  return tensor_.leave(out_.forward(context_.forward(qkv, pass, shape_)), pass.rows().num_local());
}

// The normed latent, and the turned key: [rows, kv_lora_rank + qk_rope_head_dim].
struct LatentAttention::Cache : LayerCache {
  Tensor rows;
};

std::unique_ptr<LayerCache> LatentAttention::make_cache(int64_t rows) const {
  auto cache = std::make_unique<Cache>();
  cache->rows = Tensor::empty({rows, latent_rank_ + heads_.rope_dim}, out_.weight().dtype(),
                              out_.weight().device());
  return cache;
}

void LatentAttention::store(const Projected& step, const DecodeStep::Run& run,
                            const Cache& cache) const {
  const auto put = [&](const Tensor& all, int64_t begin) {
    for (int64_t b = 0; b < run.n; ++b) {
      const int64_t from_row = run.row + b * run.count;
      const int64_t to_row = run.cache_row + b * run.capacity + run.start;
      const Tensor from = all.slice(from_row, from_row + run.count);
      const Tensor to = cache.rows.slice(to_row, to_row + run.count);
      ops::call(
          &Backend::cast, "cache", {&from, &to},
          CastArgs{.x = ops::view_of(from), .y = ops::columns_of(to, begin, begin + from.dim(1))});
    }
  };
  put(step.latent.value(), 0);
  put(step.shared.value(), latent_rank_);
}

void LatentAttention::attend_naive(const Tensor& query, const DecodeStep::Run& run,
                                   const Tensor& cached, const Tensor& o) const {
  const int64_t keys = cached.dim(0), key_end = heads_.heads * heads_.qk_dim();
  const Var rows{cached};
  const Var latent = columns(rows, 0, latent_rank_);
  const Var shared = columns(rows, latent_rank_, cached.dim(1));
  const Tensor kv = latent_keys_values(key_value_.forward(latent).value(), shared.value(), heads_);
  AttentionArgs args = shape_.args();
  args.q = ops::view_of(query);
  args.k = ops::columns_of(kv, 0, key_end);
  args.v = ops::columns_of(kv, key_end, kv.dim(1));
  args.o = ops::view_of(o);
  args.q_len = args.q_stride = run.count;
  args.q_offset = run.start;
  args.kv_len = args.kv_stride = keys;
  ops::call(&Backend::attention, "attention", {&query, &kv}, args);
}

// Scores of a head are q W (c), with W the rows of kv_b_proj that make its keys, so q W is compared
// with the latents themselves; their weighted sum then goes through the rows that make values.
void LatentAttention::attend_absorbed(const Tensor& query, const DecodeStep::Run& run,
                                      const Tensor& cached, const Tensor& o) const {
  const int64_t heads = heads_.heads, nope = heads_.nope_dim, width = cached.dim(1);
  const Operand lent = key_value_.weight().elements();
  const Tensor& up = lent.view();  // [heads * kv_dim, latent]
  const Tensor q = Tensor::empty({run.count, heads * width}, query.dtype(), query.device());
  const Tensor sums =
      Tensor::empty({run.count, heads * latent_rank_}, query.dtype(), query.device());
  for (int64_t h = 0; h < heads; ++h) {
    const int64_t begin = h * heads_.qk_dim(), row = h * heads_.kv_dim();
    product(query, ops::columns_of(query, begin, begin + nope),
            ops::view_of(up.slice(row, row + nope)), false,
            ops::columns_of(q, h * width, h * width + latent_rank_));
  }
  ops::call(&Backend::copy_heads, "absorbed attention", {&query, &q},
            CopyHeadsArgs{.x = ops::columns_of(query, nope, query.dim(1)),
                          .y = ops::columns_of(q, latent_rank_, q.dim(1)),
                          .heads = heads,
                          .width = heads_.rope_dim,
                          .x_step = heads_.qk_dim(),
                          .y_step = width});
  AttentionShape shape = shape_;
  shape.kv_heads = 1, shape.qk_dim = width, shape.v_dim = latent_rank_;
  AttentionArgs args = shape.args();
  args.q = ops::view_of(q);
  args.k = ops::view_of(cached);
  args.v = ops::columns_of(cached, 0, latent_rank_);
  args.o = ops::view_of(sums);
  args.q_len = args.q_stride = run.count;
  args.q_offset = run.start;
  args.kv_len = args.kv_stride = cached.dim(0);
  ops::call(&Backend::attention, "attention", {&q, &cached}, args);
  for (int64_t h = 0; h < heads; ++h) {
    const int64_t row = h * heads_.kv_dim() + nope;
    product(query, ops::columns_of(sums, h * latent_rank_, (h + 1) * latent_rank_),
            ops::view_of(up.slice(row, row + heads_.v_dim)), true,
            ops::columns_of(o, h * heads_.v_dim, (h + 1) * heads_.v_dim));
  }
}

Var LatentAttention::decode(const Var& x, const DecodeStep& step, LayerCache& layer) const {
  const auto& cache = dynamic_cast<const Cache&>(layer);
  const Projected p = project(x, step.positions);
  const Tensor& query = p.query.value();
  const Tensor o = Tensor::empty({step.num_tokens(), heads_.heads * heads_.v_dim}, query.dtype(),
                                 query.device());
  for (const DecodeStep::Run& run : step.runs) {
    store(p, run, cache);
    // What an adapter adds to the product is not in the weight that is absorbed.
    const bool absorbs =
        step.latent == LatentForm::kAbsorbed && run.start > 0 && key_value_.is_plain();
    for (int64_t b = 0; b < run.n; ++b) {
      const int64_t row = run.row + b * run.count, first = run.cache_row + b * run.capacity;
      const Tensor own = query.slice(row, row + run.count), to = o.slice(row, row + run.count);
      const Tensor cached = cache.rows.slice(first, first + run.start + run.count);
      if (absorbs) {
        attend_absorbed(own, run, cached, to);
      } else {
        attend_naive(own, run, cached, to);
      }
    }
  }
  return tensor_.leave(out_.forward(Var(o)), step.num_tokens());
}

AttentionCounts LatentAttention::counts(const ModelConfig& c) {
  const int64_t heads = c.num_attention_heads;
  const int64_t qk = c.qk_nope_head_dim + c.qk_rope_head_dim;
  const int64_t query =
      c.q_lora_rank > 0 ? c.q_lora_rank * (c.hidden_size + heads * qk) : c.hidden_size * heads * qk;
  return {.parameters = query + c.hidden_size * (c.kv_lora_rank + c.qk_rope_head_dim) +
                        c.kv_lora_rank * heads * (c.qk_nope_head_dim + c.v_head_dim) +
                        heads * c.v_head_dim * c.hidden_size,
          .vectors = c.q_lora_rank + c.kv_lora_rank,
          .per_key = heads * (qk + c.v_head_dim)};
}

}  // namespace orthant
