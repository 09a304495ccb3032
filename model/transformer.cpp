// SPDX-License-Identifier: Apache-2.0
#include "model/transformer.h"

#include <algorithm>
#include <span>

#include "base/context.h"
#include "base/error.h"

namespace orthant {
namespace {

constexpr const char* kEmbedding = "model.embed_tokens.weight";

StageLayers settled(const StageLayers& layers, const ModelConfig& c) {
  return {layers.begin, layers.end < 0 ? c.num_hidden_layers : layers.end};
}

}  // namespace

Transformer::Transformer(const TransformerOptions& options, ParameterStore& store,
                         const Transformer* first)
    : options_(options),
      build_{store,
             options.dtype,
             options.device,
             options.config.initializer_range,
             options.ranks,
             options.adapters.empty()
                 ? nullptr
                 : std::make_shared<AdapterSet>(options.adapters, options.seed)} {
  const ModelConfig& c = options_.config;
  const auto [begin, end] = options_.layers = settled(options.layers, c);
  const RotaryTable rotary = make_rotary_table(
      c.max_position_embeddings, c.rope_scaling.frequencies(c.rotary_dim(), c.rope_theta),
      c.rope_scaling.table_factor(), build_.wide(), options.device);
  if (first) embedding_weight_ = first->embedding_weight_;
  if (begin == 0) {
    embedding_.emplace(
        build_, kEmbedding, c.vocab_size, c.hidden_size,
        c.shares_embedding() && !options_.holds_both_ends ? Tied::kOwner : Tied::kNo);
    embedding_weight_ = &embedding_->weight();
  }
  blocks_.reserve(static_cast<size_t>(end - begin));
  for (int64_t i = begin; i < end; ++i) blocks_.emplace_back(build_, i, block_options(i), rotary);
  if (end < c.num_hidden_layers) return;
  norm_.emplace(build_, "model.norm.weight", c.hidden_size, c.rms_norm_eps);
  add_head();
  if (c.num_nextn_predict_layers > 0) add_mtp(rotary);
}

void Transformer::add_head() {
  const ModelConfig& c = options_.config;
  if (!c.tie_word_embeddings) {
    head_.emplace(build_, "lm_head.weight", c.vocab_size, c.hidden_size);
  } else if (embedding_weight_) {
    head_.emplace(build_, "lm_head", c.vocab_size, *embedding_weight_);
  } else {
    head_.emplace(build_, kEmbedding, c.vocab_size, c.hidden_size, Tied::kMirror);
    embedding_weight_ = &head_->weight();
  }
}

void Transformer::add_mtp(const RotaryTable& rotary) {
  const ModelConfig& c = options_.config;
  const auto adapts = [&](const NamedAdapter& adapter) {
    return adapter.rules->of("lm_head") || adapter.rules->of("model.embed_tokens");
  };
  ORTHANT_CHECK(std::none_of(options_.adapters.begin(), options_.adapters.end(), adapts), kConfig,
                "lora.target_modules: lm_head and embed_tokens cannot have adapters where "
                "a layer for multi-token prediction uses them too; take them out, or set "
                "model.num_nextn_predict_layers to 0");
  const Embedding lookup =
      embedding_weight_ ? Embedding(build_, "mtp.embed_tokens", c.vocab_size, *embedding_weight_)
                        : Embedding(build_, kEmbedding, c.vocab_size, c.hidden_size, Tied::kMirror);
  embedding_weight_ = &lookup.weight();
  mtp_.emplace(build_, block_options(c.num_hidden_layers), rotary, lookup, head_->weight());
}

BlockOptions Transformer::block_options(int64_t layer) const {
  return {.config = options_.config,
          .moe = options_.moe,
          .recompute = recompute_of(layer),
          .seed = options_.seed};
}

std::vector<const MoeLayer*> Transformer::moe_layers() const {
  std::vector<const MoeLayer*> layers;
  const auto add = [&](const Block& block) {
    if (block.moe()) layers.push_back(block.moe());
  };
  for (const Block& block : blocks_) add(block);
  if (mtp_) add(mtp_->block());
  return layers;
}

Recompute Transformer::recompute_of(int64_t layer) const {
  const int64_t count = options_.recompute_layers, place = layer - options_.layers.begin;
  return count == 0 || place < count ? options_.recompute : Recompute::kNone;
}

Var Transformer::forward(const Var& from_before, Pass& pass) const {
  const int64_t length = pass.rows().length(), longest = options_.config.max_position_embeddings;
  ORTHANT_CHECK(length <= longest, kConfig, "a sequence of ", length,
                " tokens is longer than model.max_position_embeddings ", longest);
  Var x = is_first() ? embedding_->forward(pass.ids) : from_before;
  for (const Block& block : blocks_) x = block.forward(x, pass);
  return is_last() ? norm_->forward(x) : x;
}

Shape Transformer::stream_shape(const TokenRows& rows) const {
  return {build_.tensor().cuts_rows() ? rows.count() : rows.num_local(),
          options_.config.hidden_size};
}

void Transformer::check_routing() const {
  for (const MoeLayer* layer : moe_layers()) layer->check_routing();
}

void Transformer::update_router_biases(
    const std::vector<std::vector<double>>& expert_counts) const {
  for (const MoeLayer* layer : moe_layers())
    layer->update_bias(
        expert_counts[static_cast<size_t>(options_.config.moe_index(layer->layer()))]);
}

KvCache Transformer::make_cache(size_t places, LatentForm latent) const {
  std::vector<CacheRow> rows;
  for (const Block& block : blocks_) rows.push_back(block.cache_row());
  return KvCache(rows, places, latent);
}

Tensor Transformer::decode(const NextTokens& next, KvCache& cache,
                           const Tensor& from_before) const {
  const NoGradScope no_grad;
  DecodeStep step(next, cache, options_.config.max_position_embeddings, options_.ranks,
                  options_.device);
  const ChosenAdapters chosen = choose_adapters(next, step);
  const AdapterScope scope(build_.adapters.get(), chosen);
  Var x = is_first() ? embedding_->forward(step.ids) : Var(from_before);
  for (size_t i = 0; i < blocks_.size(); ++i) x = blocks_[i].decode(x, step, cache.layer(i));
  cache.end_step(step);
  return is_last() && step.num_tokens() > 0 ? logits_of_last(x, next) : x.value();
}

ChosenAdapters Transformer::choose_adapters(const NextTokens& next, const DecodeStep& step) const {
  if (!build_.adapters || !build_.adapters->are_named()) return {};
  const size_t count = build_.adapters->all().size();
  std::vector<int64_t> all, last;
  for (const NewTokens& of : next) {
    ORTHANT_CHECK(of.adapter < static_cast<int64_t>(count), kInternal, "decode: adapter ",
                  of.adapter, " of ", count);
    all.insert(all.end(), of.ids.size(), of.adapter);
    if (of.size() > 0 && of.wants_logits) last.push_back(of.adapter);
  }
  // Every context-parallel rank works on all rows; of these, tensor-parallel ranks have own ones.
  const auto own = std::span(all).subspan(static_cast<size_t>(step.moe.rows.first()),
                                          static_cast<size_t>(step.moe.rows.count()));
  std::vector<int64_t> marks;
  for (const int64_t adapter : own) marks.push_back(adapter + 1);
  return {.local = RowChoice(all, count, options_.device),
          .own = RowChoice(own, count, options_.device),
          .last = RowChoice(last, count, options_.device),
          .own_marks = Tensor::from_i64({std::ssize(marks)}, marks)};
}

Tensor Transformer::logits_of_last(const Var& x, const NextTokens& next) const {
  const Tensor all = build_.tensor().enter(x, count_tokens(next)).value();
  std::vector<int64_t> rows;  // of the last tokens
  int64_t end = 0;
  for (const NewTokens& of : next) {
    end += of.size();
    if (of.size() > 0 && of.wants_logits) rows.push_back(end - 1);
  }
  const Tensor last = Tensor::empty({std::ssize(rows), options_.config.hidden_size}, options_.dtype,
                                    options_.device);
  for (int64_t i = 0; i < std::ssize(rows); ++i) {
    const int64_t row = rows[static_cast<size_t>(i)];
    copy(all.slice(row, row + 1), last.slice(i, i + 1));
  }
  return head_->logits(norm_->forward(Var(last)).value());
}

}  // namespace orthant
