// SPDX-License-Identifier: Apache-2.0
#include "model/transformer.h"

#include "base/context.h"
#include "base/error.h"

namespace orthant {
namespace {

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

Head make_head(const LayerBuilder& build, const ModelConfig& c, const Embedding& embedding) {
  if (c.tie_word_embeddings) return Head(build, c.vocab_size, embedding);
  return Head(build, "lm_head.weight", c.vocab_size, c.hidden_size);
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
  return moe ? moe->forward(x, context) : dense->forward(x, context.rows.total());
}

Transformer::Transformer(const TransformerOptions& options, ParameterStore& store)
    : options_(options),
      build_{store, options.dtype, options.device, options.config.initializer_range, options.ranks},
      embedding_(build_, "model.embed_tokens.weight", options.config.vocab_size,
                 options.config.hidden_size),
      layers_([&] {
        std::vector<Layer> layers;
        layers.reserve(static_cast<size_t>(options.config.num_hidden_layers));
        for (int64_t i = 0; i < options.config.num_hidden_layers; ++i)
          layers.emplace_back(build_, i, options);
        return layers;
      }()),
      norm_(build_, "model.norm.weight", options.config.hidden_size, options.config.rms_norm_eps),
      head_(make_head(build_, options.config, embedding_)),
      rotary_(make_rotary_table(options.config.max_position_embeddings, options.config.head_dim,
                                options.config.rope_theta, build_.wide(), options.device)) {}

void Transformer::set_rows(const Tensor& ids, int64_t length, MoeContext& moe) const {
  moe.rows = TokenRows(options_.ranks.tensor, ids.numel() / length, length);
  std::vector<int32_t> valid(static_cast<size_t>(ids.numel()));
  const Tensor host = ids.to(Device{});
  moe.routed_tokens = Tensor::zeros({moe.rows.sequences}, DType::kF64);
  for (int64_t i = 0; i < ids.numel(); ++i) {
    const bool is_token = host.as<int32_t>()[i] >= 0;
    valid[static_cast<size_t>(i)] = is_token;
    moe.routed_tokens.as<double>()[i / length] += is_token;
  }
  moe.valid = Tensor::from_i32({ids.numel()}, valid, ids.device());
}

// first_token: of x's first row.
Var Transformer::drop(const Var& x, int64_t layer, const char* site, int64_t step,
                      int64_t first_token) const {
  if (options_.config.hidden_dropout == 0.0) return x;
  const PhiloxKey key =
      make_key(options_.seed, RandomPurpose::kDropout, layer_prefix(layer) + site);
  return dropout(x, options_.config.hidden_dropout, key, static_cast<uint64_t>(step),
                 static_cast<uint64_t>(first_token * options_.config.hidden_size));
}

Var Transformer::run_layer(const Layer& layer, const Var& x, const ModelInput& input,
                           MoeContext& moe, int64_t step, int64_t first_token) const {
  const Var attended = layer.attention.forward(layer.attention_norm.forward(x), input.batch,
                                               input.positions, input.doc_start, rotary_);
  const Var h = add(x, drop(attended, layer.index, "attention", step, first_token));
  const Var fed = layer.feed_forward(layer.ffn_norm.forward(h), moe);
  return add(h, drop(fed, layer.index, "ffn", step, first_token));
}

HeadLoss Transformer::loss(const ModelInput& input, MoeContext& moe, int64_t step,
                           int64_t first_token) const {
  ORTHANT_CHECK(input.length <= options_.config.max_position_embeddings, kConfig, "a sequence of ",
                input.length, " tokens is longer than model.max_position_embeddings ",
                options_.config.max_position_embeddings);
  set_rows(input.ids, input.length, moe);
  if (build_.tensor().cuts_rows()) first_token += moe.rows.first;
  Var x = embedding_.forward(input.ids);
  for (const Layer& layer : layers_) {
    const auto run = [this, &layer, &input, &moe, step, first_token](const Var& v) {
      return run_layer(layer, v, input, moe, step, first_token);
    };
    x = options_.recompute == Recompute::kFull ? recompute(run, x) : run(x);
  }
  return head_.loss(norm_.forward(x), input.labels);
}

int64_t Transformer::check_routing() const {
  int64_t checked = 0;
  for (const Layer& layer : layers_) {
    if (!layer.moe) continue;
    layer.moe->check_routing();
    ++checked;
  }
  return checked;
}

void Transformer::update_router_biases(
    const std::vector<std::vector<double>>& expert_counts) const {
  auto counts = expert_counts.begin();
  for (const Layer& layer : layers_)
    if (layer.moe) layer.moe->update_bias(*counts++);
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
  ORTHANT_CHECK(cache.length + length <= cache.capacity, kInternal, "decode: the cache holds ",
                cache.capacity, " tokens, want ", cache.length + length);
  MoeContext moe;
  set_rows(ids, length, moe);
  Var x = embedding_.forward(ids);
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
  return head_.logits(norm_.forward(Var(last)).value());
}

}  // namespace orthant
