// SPDX-License-Identifier: Apache-2.0
// Multi-head latent attention: DeepSeek-V2, arXiv:2405.04434, section 2.1.
//
// Keys and values of a token are made of one latent of kv_lora_rank elements, and of one turned key
// that all heads share; queries of a latent too, or of the stream.  In training and for prompts
// keys and values are made whole (the naive form).  The cache keeps the latent and the shared key
// alone; new tokens see it in the naive form or in the absorbed one (KvCache::latent).
//
// Rotary pairs are (i, i + K/2), here and in what is stored; the published weights have pairs side
// by side.
#pragma once

#include <optional>

#include "layers/rms_norm.h"
#include "model/attention.h"
#include "model/context_attention.h"

namespace orthant {

// Tensor-parallel ranks share the heads; what goes down to the latents is the same on all.
class LatentAttention : public Attention {
 public:
  LatentAttention(const LayerBuilder& build, const std::string& prefix, const ModelConfig& config,
                  int64_t layer, const RotaryTable& rotary);
  Var forward(const Var& x, const Pass& pass) const override;
  CacheRow cache_row() const override;
  Var decode(const Var& x, const DecodeStep& step, LayerCache& cache) const override;
  static AttentionCounts counts(const ModelConfig& config);

 private:
  // Of all rows: this rank's queries, turned; the normed latent of keys and values; the shared key,
  // turned.
  struct Projected {
    Var query, latent, shared;
  };
  Projected project(const Var& x, const Tensor& positions) const;
  bool absorbs(const DecodeStep& step, const DecodeStep::Part& part) const;
  // New tokens over cached ones, o [count, H * v_dim] of this rank: of one sequence, or of several.
  void attend_naive(const Tensor& query, const LayerCache::Gathered& cached, int64_t adapter,
                    const Tensor& o) const;
  // Both forms; o gets the naive one.
  void compare_forms(const Tensor& query, std::span<const DecodeStep::Part> parts, const Tensor& o,
                     LayerCache& cache) const;
  void attend_absorbed(const Tensor& query, const LayerCache& cache,
                       std::span<const DecodeStep::Part> parts, const Tensor& o) const;

  TensorParallel tensor_;
  ContextAttention context_;
  int64_t query_rank_, latent_rank_;
  LatentHeads heads_;     // of this rank
  AttentionShape shape_;  // in the naive form
  RotaryTable rotary_;
  Linear down_;                        // latent of queries, latent of keys and values, shared key
  std::optional<RmsNorm> query_norm_;  // where queries have a latent
  RmsNorm latent_norm_;
  Linear query_, key_value_, out_;
};

}  // namespace orthant
