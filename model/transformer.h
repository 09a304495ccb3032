// SPDX-License-Identifier: Apache-2.0
// The decoder-only transformer: embedding, layers of attention and (dense or MoE) feed-forward with
// RMSNorm before each, final norm, head.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "model/attention.h"
#include "model/config.h"
#include "moe/moe_layer.h"

namespace orthant {

// One micro-batch on the device: all i32 [B * T].  ids < 0 are padding; labels < 0 are not counted.
struct ModelInput {
  int64_t batch = 0, length = 0;
  Tensor ids, labels, positions, doc_start;
};

enum class Recompute { kNone, kFull };

struct TransformerOptions {
  ModelConfig config;  // resolved
  MoeConfig moe;
  DType dtype = DType::kF32;
  Device device;
  Recompute recompute = Recompute::kNone;
  RankGroups ranks = {};
  uint64_t seed = 0;        // of dropout
};

// Keys and values of past tokens, for decoding a batch of sequences of equal length.
struct KvCache {
  int64_t batch = 0, capacity = 0, length = 0;
  std::vector<LayerCache> layers;
};

class Transformer {
 public:
  // Adds its parameters to the store, in the order of the layers; the store must outlive it.
  Transformer(const TransformerOptions& options, ParameterStore& store);

  // MoeLayer::check_routing of every layer; the number of layers that have experts.  Collective.
  int64_t check_routing() const;
  // After an optimizer step: moves the routers' selection biases.  expert_counts: by MoE layer,
  // tokens of the step by expert, over all ranks.
  void update_router_biases(const std::vector<std::vector<double>>& expert_counts) const;

  // Sum of the labelled tokens' losses, the same on every rank that shares the micro-batch.  step
  // and first_token (global index of the micro-batch's first token) key dropout.
  HeadLoss loss(const ModelInput& input, MoeContext& moe, int64_t step, int64_t first_token) const;

  KvCache make_cache(int64_t batch, int64_t capacity) const;
  // ids i32 [B * T]: the next T tokens of every sequence.  Appends to the cache; logits of the last
  // one, [B, V] in the wide type. No tape.  Collective over the tensor and experts' groups.
  Tensor decode(const Tensor& ids, KvCache& cache) const;

  const ModelConfig& config() const { return options_.config; }
  Device device() const { return options_.device; }

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
  Var run_layer(const Layer& layer, const Var& x, const ModelInput& input, MoeContext& moe,
                int64_t step, int64_t first_token) const;
  Var drop(const Var& x, int64_t layer, const char* site, int64_t step, int64_t first_token) const;
  // How the ranks share the tokens of a micro-batch, and which of these are any.
  void set_rows(const Tensor& ids, int64_t length, MoeContext& moe) const;

  TransformerOptions options_;
  LayerBuilder build_;
  Embedding embedding_;
  std::vector<Layer> layers_;
  RmsNorm norm_;
  Head head_;
  RotaryTable rotary_;
};

}  // namespace orthant
