// SPDX-License-Identifier: Apache-2.0
#include "model/transformer.h"

#include "base/context.h"
#include "base/error.h"

namespace orthant {
namespace {

constexpr const char* kEmbedding = "model.embed_tokens.weight";

std::string layer_prefix(int64_t index) { return concat("model.layers.", index, "."); }

MoeSizes moe_sizes(const ModelConfig& c) {
  return {.width = c.hidden_size,
          .inner = c.moe_intermediate_size,
          .experts = c.n_routed_experts,
          .experts_per_token = c.num_experts_per_tok,
          .shared_experts = c.n_shared_experts,
          .score = c.scoring_func == "sigmoid" ? ScoreKind::kSigmoid : ScoreKind::kSoftmax,
          .groups = c.n_group,
          .top_groups = c.topk_group,
          .group_best = c.has_router_bias() ? 2 : 1,
          .bias = c.has_router_bias(),
          .normalize = c.norm_topk_prob,
          .scale = c.routed_scaling_factor};
}

StageLayers settled(const StageLayers& layers, const ModelConfig& c) {
  return {layers.begin, layers.end < 0 ? c.num_hidden_layers : layers.end};
}

}  // namespace

Transformer::Layer::Layer(const LayerBuilder& build, int64_t i, const TransformerOptions& options)
    : index(i),
      attention_norm(build, layer_prefix(i) + "input_layernorm.weight", options.config.hidden_size,
                     options.config.rms_norm_eps),
      ffn_norm(build, layer_prefix(i) + "post_attention_layernorm.weight",
               options.config.hidden_size, options.config.rms_norm_eps),
      attention(build, layer_prefix(i) + "self_attn.", options.config, i) {
  const std::string prefix = layer_prefix(i) + "mlp.";
  if (options.config.is_moe_layer(i)) {
    moe.emplace(build, prefix, i, moe_sizes(options.config), options.moe);
  } else {
    dense.emplace(build, prefix, options.config.hidden_size, options.config.intermediate_size);
  }
}

Var Transformer::Layer::feed_forward(const Var& x, MoeContext& context) const {
  return moe ? moe->forward(x, context) : dense->forward(x, context.rows.num_local());
}

Transformer::Transformer(const TransformerOptions& options, ParameterStore& store,
                         const Transformer* first)
    : options_(options),
      build_{store, options.dtype, options.device, options.config.initializer_range, options.ranks},
      rotary_(make_rotary_table(options.config.max_position_embeddings, options.config.head_dim,
                                options.config.rope_theta, build_.wide(), options.device)) {
  const ModelConfig& c = options_.config;
  const auto [begin, end] = options_.layers = settled(options.layers, c);
  if (begin == 0)
    embedding_.emplace(
        build_, kEmbedding, c.vocab_size, c.hidden_size,
        c.tie_word_embeddings && !options_.holds_both_ends ? Tied::kOwner : Tied::kNo);
  layers_.reserve(static_cast<size_t>(end - begin));
  for (int64_t i = begin; i < end; ++i) layers_.emplace_back(build_, i, options_);
  if (end < c.num_hidden_layers) return;
  const Embedding* embedding = embedding_ ? &*embedding_ : first ? &*first->embedding_ : nullptr;
  norm_.emplace(build_, "model.norm.weight", c.hidden_size, c.rms_norm_eps);
  if (!c.tie_word_embeddings) {
    head_.emplace(build_, "lm_head.weight", c.vocab_size, c.hidden_size);
  } else if (embedding) {
    head_.emplace(build_, c.vocab_size, *embedding);
  } else {
    head_.emplace(build_, kEmbedding, c.vocab_size, c.hidden_size, Tied::kMirror);
  }
}

Var Transformer::drop(const Var& x, int64_t layer, const char* site, const Pass& pass) const {
  if (options_.config.hidden_dropout == 0.0) return x;
  const PhiloxKey key =
      make_key(options_.seed, RandomPurpose::kDropout, layer_prefix(layer) + site);
  std::vector<DropoutRun> runs;
  for (const TokenRows::Run& run : pass.stream)
    runs.push_back(
        {run.begin, run.end, static_cast<uint64_t>(run.token * options_.config.hidden_size)});
  return dropout(x, options_.config.hidden_dropout, key, pass.step, runs);
}

Var Transformer::run_layer(const Layer& layer, const Var& x, Pass& pass) const {
  const Var attended = layer.attention.forward(layer.attention_norm.forward(x), pass, rotary_);
  const Var h = add(x, drop(attended, layer.index, "attention", pass));
  const Var fed = layer.feed_forward(layer.ffn_norm.forward(h), pass.moe);
  return add(h, drop(fed, layer.index, "ffn", pass));
}

Var Transformer::forward(const Var& from_before, Pass& pass) const {
  const ModelConfig& c = options_.config;
  ORTHANT_CHECK(pass.rows().length() <= c.max_position_embeddings, kConfig, "a sequence of ",
                pass.rows().length(), " tokens is longer than model.max_position_embeddings ",
                c.max_position_embeddings);
  Var x = is_first() ? embedding_->forward(pass.ids) : from_before;
  for (const Layer& layer : layers_) {
    const auto run = [this, &layer, &pass](const Var& v) { return run_layer(layer, v, pass); };
    switch (recompute_of(layer)) {
      case Recompute::kNone:
        x = run(x);
        break;
      case Recompute::kSelective: {
        const RemakeScope scope;
        x = run(x);
        break;
      }
      case Recompute::kFull:
        x = recompute(run, x);
        break;
    }
  }
  return is_last() ? norm_->forward(x) : x;
}

Recompute Transformer::recompute_of(const Layer& layer) const {
  const int64_t count = options_.recompute_layers, place = layer.index - options_.layers.begin;
  return count == 0 || place < count ? options_.recompute : Recompute::kNone;
}

Shape Transformer::stream_shape(int64_t sequences, int64_t length) const {
  const TokenRows rows = options_.ranks.rows_of(sequences, length);
  return {build_.tensor().cuts_rows() ? rows.count() : rows.num_local(),
          options_.config.hidden_size};
}

void Transformer::check_routing() const {
  for (const Layer& layer : layers_)
    if (layer.moe) layer.moe->check_routing();
}

void Transformer::update_router_biases(
    const std::vector<std::vector<double>>& expert_counts) const {
  for (const Layer& layer : layers_)
    if (layer.moe)
      layer.moe->update_bias(
          expert_counts[static_cast<size_t>(options_.config.moe_index(layer.index))]);
}

KvCache Transformer::make_cache(int64_t batch, int64_t capacity) const {
  const CategoryScope category(MemoryCategory::kCache);
  KvCache cache{.batch = batch, .capacity = capacity};
  for (const Layer& layer : layers_) {
    const AttentionShape& shape = layer.attention.shape();
    cache.layers.push_back({Tensor::empty({batch * capacity, shape.kv_heads * shape.qk_dim},
                                          options_.dtype, options_.device),
                            Tensor::empty({batch * capacity, shape.kv_heads * shape.v_dim},
                                          options_.dtype, options_.device)});
  }
  return cache;
}

Tensor Transformer::decode(const Tensor& ids, KvCache& cache) const {
  const NoGradScope no_grad;
  const int64_t length = ids.numel() / cache.batch;
  ORTHANT_CHECK(is_first() && is_last(), kInternal, "decode: this rank holds a stage of the model");
  ORTHANT_CHECK(cache.length + length <= cache.capacity, kInternal, "decode: the cache holds ",
                cache.capacity, " tokens, want ", cache.length + length);
  MoeContext moe = make_moe_context(options_.ranks.rows_of(cache.batch, length),
                                    ids.span<int32_t>(), options_.device);
  Var x = embedding_->forward(ids);
  for (const Layer& layer : layers_) {
    const Tensor attended = layer.attention.decode(
        layer.attention_norm.forward(x).value(), cache.batch, length, cache.length, cache.capacity,
        cache.layers[static_cast<size_t>(layer.index)], rotary_);
    const Var h = add(x, Var(attended));
    x = add(h, layer.feed_forward(layer.ffn_norm.forward(h), moe));
  }
  cache.length += length;
  const Tensor all = build_.tensor().enter(x, ids.numel()).value();
  const Tensor last =
      Tensor::empty({cache.batch, options_.config.hidden_size}, options_.dtype, options_.device);
  for (int64_t b = 0; b < cache.batch; ++b) {
    copy(all.slice((b + 1) * length - 1, (b + 1) * length), last.slice(b, b + 1));
  }
  return head_->logits(norm_->forward(Var(last)).value());
}

}  // namespace orthant
