// SPDX-License-Identifier: Apache-2.0
// Grouped-query causal self-attention with rotary positions, in a window where the layer has one.
#pragma once

#include "layers/linear.h"
#include "model/config.h"

namespace orthant {

// Keys (already turned) and values of one layer, for decoding: k [B * capacity, Hkv * K], v [B *
// capacity, Hkv * Kv].
struct LayerCache {
  Tensor k, v;
};

class SelfAttention {
 public:
  SelfAttention(const LayerBuilder& build, const std::string& prefix, const ModelConfig& config,
                int64_t layer);
  // x [B*T, D]; positions and doc_start i32 [B*T].
  Var forward(const Var& x, int64_t batch, const Tensor& positions, const Tensor& doc_start,
              const RotaryTable& rotary) const;
  // x [B*T, D]: T new tokens of each of B sequences, at positions start .. start + T - 1.  Writes
  // their keys and values into the cache, which holds `capacity` tokens of each sequence, and
  // attends to everything before that its window reaches.
  Tensor decode(const Tensor& x, int64_t batch, int64_t start, int64_t capacity, LayerCache& cache,
                const RotaryTable& rotary) const;

 private:
  AttentionShape shape_;
  Linear qkv_, out_;
};

}  // namespace orthant
