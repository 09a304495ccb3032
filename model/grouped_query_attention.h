// SPDX-License-Identifier: Apache-2.0
// Grouped-query causal self-attention with rotary positions, in a window where the layer has one;
// queries, keys and values may have biases, queries and keys may be normed (Qwen2, Qwen3, OLMoE).
#pragma once

#include <optional>

#include "layers/rms_norm.h"
#include "model/attention.h"
#include "model/context_attention.h"

namespace orthant {

// Tensor-parallel ranks share the heads; with fewer KV heads than ranks, several hold the same one.
class GroupedQueryAttention : public Attention {
 public:
  GroupedQueryAttention(const LayerBuilder& build, const std::string& prefix,
                        const ModelConfig& config, int64_t layer, const RotaryTable& rotary);
  Var forward(const Var& x, const Pass& pass) const override;
  CacheRow cache_row() const override;
  Var decode(const Var& x, const DecodeStep& step, LayerCache& cache) const override;
  static AttentionCounts counts(const ModelConfig& config);

 private:
  // This rank's heads, q beside k beside v, of all rows; q and k turned by position.
  Var project(const Var& x, const Tensor& positions) const;
  Var normed(const Var& qkv) const;

  TensorParallel tensor_;
  ContextAttention context_;
  AttentionShape shape_;  // of this rank's heads
  RotaryTable rotary_;
  Linear qkv_;
  std::optional<Linear> key_value_;  // with fewer KV heads than ranks: then qkv_ is q alone
  Linear out_;
  std::optional<RmsNorm> query_norm_, key_norm_;
  double norm_eps_;
  bool norms_all_heads_;  // as one; else each by itself
};

}  // namespace orthant
