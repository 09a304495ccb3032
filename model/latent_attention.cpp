// SPDX-License-Identifier: Apache-2.0
#include "model/latent_attention.h"

#include <cmath>

#include "model/paged_attention.h"
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

// Rows of consecutive parts.
Tensor rows_of(const Tensor& all, std::span<const DecodeStep::Part> parts) {
  return all.slice(parts.front().row, parts.back().row + parts.back().count);
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

// The normed latent, and the turned key.
CacheRow LatentAttention::cache_row() const {
  return {.parts = {{1, latent_rank_ + heads_.rope_dim}},
          .dtype = out_.weight().dtype(),
          .device = out_.weight().device(),
          .window = shape_.window};
}

void LatentAttention::attend_naive(const Tensor& query, const LayerCache::Gathered& cached,
                                   int64_t adapter, const Tensor& o) const {
  const int64_t keys = cached.rows.dim(0), key_end = heads_.heads * heads_.qk_dim();
  const Var rows{cached.rows};
  const Var latent = columns(rows, 0, latent_rank_);
  const Var shared = columns(rows, latent_rank_, cached.rows.dim(1));
  const Tensor kv =
      latent_keys_values(key_value_.forward_with(latent, adapter).value(), shared.value(), heads_);
  AttentionArgs args = shape_.args();
  args.q = ops::view_of(query);
  args.k = ops::columns_of(kv, 0, key_end);
  args.v = ops::columns_of(kv, key_end, kv.dim(1));
  args.o = ops::view_of(o);
  args.q_len = args.q_stride = query.dim(0);
  args.kv_offset = cached.first;
  args.kv_len = args.kv_stride = keys;
  args.q_offset = cached.first + keys - query.dim(0);
  ops::call(&Backend::attention, "attention", {&query, &kv}, args);
}

// Scores of a head are q W (c), with W the rows of kv_b_proj that make its keys, so q W is compared
// with the latents themselves; their weighted sum then goes through the rows that make values.
void LatentAttention::attend_absorbed(const Tensor& query, const LayerCache& cache,
                                      std::span<const DecodeStep::Part> parts,
                                      const Tensor& o) const {
  const int64_t rows = query.dim(0), heads = heads_.heads, nope = heads_.nope_dim;
  const int64_t width = latent_rank_ + heads_.rope_dim;
  const Operand lent = key_value_.weight().elements();
  const Tensor& up = lent.view();  // [heads * kv_dim, latent]
  const Tensor q = Tensor::empty({rows, heads * width}, query.dtype(), query.device());
  const Tensor sums = Tensor::empty({rows, heads * latent_rank_}, query.dtype(), query.device());
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
  attend_pages(shape, q, cache, parts, /*values=*/0, sums);
  for (int64_t h = 0; h < heads; ++h) {
    const int64_t row = h * heads_.kv_dim() + nope;
    product(query, ops::columns_of(sums, h * latent_rank_, (h + 1) * latent_rank_),
            ops::view_of(up.slice(row, row + heads_.v_dim)), true,
            ops::columns_of(o, h * heads_.v_dim, (h + 1) * heads_.v_dim));
  }
}

bool LatentAttention::absorbs(const DecodeStep& step, const DecodeStep::Part& part) const {
  // What an adapter adds to the product is not in the weight that is absorbed.
  return step.latent != LatentForm::kNaive && part.start > 0 && !part.of_prompt &&
         key_value_.is_plain(part.adapter);
}

Var LatentAttention::decode(const Var& x, const DecodeStep& step, LayerCache& cache) const {
  const Projected p = project(x, step.positions);
  const Tensor& query = p.query.value();
  const Tensor o = Tensor::empty({step.num_tokens(), heads_.heads * heads_.v_dim}, query.dtype(),
                                 query.device());
  cache.extend(step);
  cache.put(step, p.latent.value(), {.width = latent_rank_});
  cache.put(step, p.shared.value(), {.width = heads_.rope_dim, .column = latent_rank_});
  const std::span<const DecodeStep::Part> parts = step.parts;
  for (size_t i = 0, end = 0; i < parts.size(); i = end) {
    for (end = i + 1; end < parts.size() && absorbs(step, parts[i]) && absorbs(step, parts[end]);)
      ++end;
    const auto own = parts.subspan(i, end - i);
    if (!absorbs(step, parts[i])) {
      attend_naive(rows_of(query, own), cache.gather(parts[i]), parts[i].adapter, rows_of(o, own));
    } else if (step.latent == LatentForm::kAbsorbed) {
      attend_absorbed(rows_of(query, own), cache, own, rows_of(o, own));
    } else {
      compare_forms(query, own, o, cache);
    }
  }
  return tensor_.leave(out_.forward(Var(o)), step.num_tokens());
}

void LatentAttention::compare_forms(const Tensor& query, std::span<const DecodeStep::Part> parts,
                                    const Tensor& o, LayerCache& cache) const {
  const Tensor to = rows_of(o, parts), absorbed = Tensor::like(to);
  attend_absorbed(rows_of(query, parts), cache, parts, absorbed);
  for (const DecodeStep::Part& part : parts)
    attend_naive(rows_of(query, {&part, 1}), cache.gather(part), part.adapter,
                 rows_of(o, {&part, 1}));
  const std::vector<double> want = to.to_doubles(), got = absorbed.to_doubles();
  double largest = 0, difference = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    largest = std::max(largest, std::abs(want[i]));
    difference = std::max(difference, std::abs(got[i] - want[i]));
  }
  if (largest > 0) cache.note_difference(difference / largest);
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
