// SPDX-License-Identifier: Apache-2.0
// Multi-token prediction of DeepSeek-V3 (arXiv:2412.19437, section 2.2), depth 1: a layer behind
// the last that predicts the token after the next.  Training alone knows it.
//
//   h'_i = block(eh_proj [enorm(Emb(t_{i+1})); hnorm(h_i)]),   loss_i = -log p(t_{i+2} | h'_i)
//
// h is the stream behind the model's final norm, and the embedding comes first, as in vLLM's
// deepseek_mtp, which serves the published weights.  Embedding and head are the model's own.
#pragma once

#include "layers/embedding.h"
#include "layers/head.h"
#include "layers/linear.h"
#include "model/block.h"

namespace orthant {

class MtpLayer {
 public:
  // Logical names as in published folders, "model.layers.L.enorm.weight" of L layers.  embedding:
  // a use of the model's that looks up here alone; head: the model's.
  MtpLayer(const LayerBuilder& build, const BlockOptions& options, const RotaryTable& rotary,
           const Embedding& embedding, Parameter& head);
  // h of the stream, in a pass that has what follows the next tokens; row_weights: see head_loss.
  // Adds the block's routing to the pass.
  HeadLoss loss(const Var& h, Pass& pass, const Tensor& row_weights) const;
  const Block& block() const { return block_; }

 private:
  Embedding embedding_;
  RmsNorm embedding_norm_, hidden_norm_;
  Linear join_;
  Block block_;
  RmsNorm norm_;
  Head head_;
};

}  // namespace orthant
