// SPDX-License-Identifier: Apache-2.0
// Grouped-query causal self-attention with rotary positions, in a window where the layer has one.
#pragma once

#include <optional>

#include "layers/linear.h"
#include "model/config.h"
#include "model/pass.h"

namespace orthant {

// Keys (already turned) and values of one layer, for decoding: k [B * capacity, Hkv * K], v [B *
// capacity, Hkv * Kv].
struct LayerCache {
  Tensor k, v;
};

// Tensor-parallel ranks share the heads; with fewer KV heads than ranks, several hold the same one.
class SelfAttention {
 public:
  SelfAttention(const LayerBuilder& build, const std::string& prefix, const ModelConfig& config,
                int64_t layer);
  const AttentionShape& shape() const { return shape_; }  // of this rank's heads
  // x of the stream.
  Var forward(const Var& x, const Pass& pass, const RotaryTable& rotary) const;
  // x of the stream: T = length new tokens of each of B sequences, at positions start .. start + T
  // -
  // 1.  Writes their keys and values into the cache, which holds `capacity` tokens of each
  // sequence, and attends to everything before that its window reaches.
  Tensor decode(const Tensor& x, int64_t batch, int64_t length, int64_t start, int64_t capacity,
                LayerCache& cache, const RotaryTable& rotary) const;

 private:
  // This rank's heads, q beside k beside v, of all rows.
  Var project(const Var& x, int64_t rows) const;

  // Over keys that other context-parallel ranks hold too.
  Var attend(const Var& qkv, const Pass& pass) const;

  TensorParallel tensor_;
  Group context_;
  bool ulysses_;
  AttentionShape shape_;  // of this rank's heads
  Linear qkv_;
  std::optional<Linear> key_value_;  // with fewer KV heads than ranks: then qkv_ is q alone
  Linear out_;
};

}  // namespace orthant
