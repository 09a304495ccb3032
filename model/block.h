// SPDX-License-Identifier: Apache-2.0
// One layer of the model: attention and a (dense or MoE) feed-forward, with RMSNorm before each.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "layers/feed_forward.h"
#include "layers/rms_norm.h"
#include "model/attention.h"
#include "moe/moe_layer.h"
#include "parallel/config.h"

namespace orthant {

struct BlockOptions {
  const ModelConfig& config;
  const MoeConfig& moe;
  Recompute recompute = Recompute::kNone;
  uint64_t seed = 0;  // of dropout
};

class Block {
 public:
  // index: of the layer in the whole model.
  Block(const LayerBuilder& build, int64_t index, const BlockOptions& options,
        const RotaryTable& rotary);
  // x of the stream (layers/tensor_parallel.h).  The pass must stay where it is until backward has
  // run.
  Var forward(const Var& x, Pass& pass) const;
  // The same for new tokens, without a tape.
  Var decode(const Var& x, DecodeStep& step, LayerCache& cache) const;
  CacheRow cache_row() const { return attention_->cache_row(); }

  int64_t index() const { return index_; }
  const MoeLayer* moe() const { return moe_ ? &*moe_ : nullptr; }

 private:
  Var run(const Var& x, Pass& pass) const;
  Var feed_forward(const Var& x, MoeContext& context) const;
  Var drop(const Var& x, const char* site, const Pass& pass) const;

  int64_t index_, width_;
  Recompute recompute_;
  double dropout_;
  uint64_t seed_;
  std::shared_ptr<AdapterSet> adapters_;  // may be null
  RmsNorm attention_norm_, ffn_norm_;
  std::unique_ptr<Attention> attention_;
  std::optional<FeedForward> dense_;
  std::optional<MoeLayer> moe_;
};

}  // namespace orthant
