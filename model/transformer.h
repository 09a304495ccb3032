// SPDX-License-Identifier: Apache-2.0
// The decoder-only transformer: embedding, blocks, final norm, head.
#pragma once

#include <optional>
#include <vector>

#include "layers/embedding.h"
#include "layers/head.h"
#include "layers/rms_norm.h"
#include "model/block.h"
#include "model/mtp_layer.h"
#include "model/stage_split.h"

namespace orthant {

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
  NamedAdapters adapters = {};
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
  const StageLayers& layers() const { return options_.layers; }
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
  // Likewise, where the model has it; null otherwise.
  const MtpLayer* mtp() const { return mtp_ ? &*mtp_ : nullptr; }
  // Shape of the stream of a micro-batch on this rank.
  Shape stream_shape(int64_t sequences, int64_t length) const {
    return stream_shape(options_.ranks.rows_of(sequences, length));
  }
  Shape stream_shape(const TokenRows& rows) const;

  // Decoding, without a tape: a second way through the same blocks (model/decoder.h goes it through
  // all stages).
  KvCache make_cache(size_t places, LatentForm latent = LatentForm::kNaive) const;
  // The next tokens of the cache's sequences, which are added to it.  x: the stream in front of the
  // stage, of all of them, not given to the first.  Gives the stream behind the stage, or of the
  // last the logits of the last new token of every sequence that has any and wants them,
  // [sequences, V] in the wide type.  Collective over the tensor group and the experts', the former
  // with the same tokens.
  Tensor decode(const NextTokens& next, KvCache& cache, const Tensor& x = {}) const;

  const ModelConfig& config() const { return options_.config; }
  DType dtype() const { return options_.dtype; }
  Device device() const { return options_.device; }
  const RankGroups& ranks() const { return options_.ranks; }
  // Null: the model has none.
  const AdapterSet* adapters() const { return build_.adapters.get(); }
  // Of the first stage, and of the last where it uses it too (ModelConfig::shares_embedding).
  Parameter* embedding_weight() const { return embedding_weight_; }

 private:
  void add_head();
  void add_mtp(const RotaryTable& rotary);
  BlockOptions block_options(int64_t layer) const;
  std::vector<const MoeLayer*> moe_layers() const;
  Recompute recompute_of(int64_t layer) const;
  ChosenAdapters choose_adapters(const NextTokens& next, const DecodeStep& step) const;
  Tensor logits_of_last(const Var& x, const NextTokens& next) const;

  TransformerOptions options_;
  LayerBuilder build_;
  std::optional<Embedding> embedding_;
  std::vector<Block> blocks_;
  std::optional<RmsNorm> norm_;
  std::optional<Head> head_;
  std::optional<MtpLayer> mtp_;
  Parameter* embedding_weight_ = nullptr;
};

}  // namespace orthant
