// SPDX-License-Identifier: Apache-2.0
// The decoder-only transformer: embedding, layers of attention and (dense or MoE) feed-forward with
// RMSNorm before each, final norm, head.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "layers/feed_forward.h"
#include "layers/head.h"
#include "layers/rms_norm.h"
#include "model/attention.h"
#include "model/config.h"
#include "model/pass.h"
#include "model/stage_split.h"
#include "moe/moe_layer.h"

namespace orthant {

// Selective: what remake() is called for.  Full: all of a layer but its input.
enum class Recompute { kNone, kSelective, kFull };

struct TransformerOptions {
  ModelConfig config;  // resolved
  MoeConfig moe;
  DType dtype = DType::kF32;
  Device device;
  Recompute recompute = Recompute::kNone;
  int64_t recompute_layers = 0;  // the first ones of the stage; 0: all
  RankGroups ranks = {};
  StageLayers layers = {};
  bool holds_both_ends = true;  // this rank has the first and the last stage
  uint64_t seed = 0;            // of dropout
};

// Keys and values of past tokens, for decoding a batch of sequences of equal length.
struct KvCache {
  int64_t batch = 0, capacity = 0, length = 0;
  std::vector<LayerCache> layers;
};

// The model, or the stage of it that a pipeline rank holds.  All its functions but those that say
// otherwise are collective over the ranks that share its micro-batch and its experts.
class Transformer {
 public:
  // Adds its parameters to the store, in the order of the layers; the store must outlive it.
  // first: the first stage, where this rank holds it too.
  Transformer(const TransformerOptions& options, ParameterStore& store,
              const Transformer* first = nullptr);

  bool is_first() const { return embedding_.has_value(); }
  bool is_last() const { return head_.has_value(); }
  // MoeLayer::check_routing of every layer that has experts.
  void check_routing() const;
  // After an optimizer step: moves the routers' selection biases.  expert_counts: by MoE layer of
  // the whole model, tokens of the step by expert, over all ranks.  Not collective.
  void update_router_biases(const std::vector<std::vector<double>>& expert_counts) const;

  // The stream (layers/tensor_parallel.h) behind the last layer, of the last stage behind the final
  // norm; x: that in front of the first, not given to the first stage.
  Var forward(const Var& x, Pass& pass) const;
  // Of the last stage.
  const Head& head() const { return *head_; }
  // Shape of the stream of a micro-batch on this rank.
  Shape stream_shape(int64_t sequences, int64_t length) const;

  // Decoding: whole models only.
  KvCache make_cache(int64_t batch, int64_t capacity) const;
  // ids i32 [B * T], on the host: the next T tokens of every sequence.  Appends to the cache;
  // logits of the last one, [B, V] in the wide type. No tape.
  Tensor decode(const Tensor& ids, KvCache& cache) const;

  const ModelConfig& config() const { return options_.config; }
  Device device() const { return options_.device; }
  const RankGroups& ranks() const { return options_.ranks; }
  Parameter* embedding_weight() const { return embedding_ ? &embedding_->weight() : nullptr; }
  Parameter* head_weight() const { return head_ ? &head_->weight() : nullptr; }

 private:
  struct Layer {
    Layer(const LayerBuilder& build, int64_t index, const TransformerOptions& options);
    int64_t index;
    RmsNorm attention_norm, ffn_norm;
    SelfAttention attention;
    std::optional<FeedForward> dense;
    std::optional<MoeLayer> moe;
    Var feed_forward(const Var& x, MoeContext& context) const;
  };
  Var run_layer(const Layer& layer, const Var& x, Pass& pass) const;
  Recompute recompute_of(const Layer& layer) const;
  Var drop(const Var& x, int64_t layer, const char* site, const Pass& pass) const;

  TransformerOptions options_;
  LayerBuilder build_;
  std::optional<Embedding> embedding_;
  std::vector<Layer> layers_;
  std::optional<RmsNorm> norm_;
  std::optional<Head> head_;
  RotaryTable rotary_;
};

}  // namespace orthant
