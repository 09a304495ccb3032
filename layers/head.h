// SPDX-License-Identifier: Apache-2.0
// From the final norm to the loss; tensor-parallel ranks share the vocabulary.
#pragma once

#include "layers/builder.h"
#include "layers/likeliest_tokens.h"

namespace orthant {

class Head {
 public:
  // tied kMirror: of the embedding that is called so, on another stage.
  Head(const LayerBuilder& build, const std::string& name, int64_t vocab, int64_t width,
       Tied tied = Tied::kNo);
  // Another use of a weight that is there, called `name`: the embedding's, or another head's; of
  // these only "lm_head" may have an adapter.
  Head(const LayerBuilder& build, const std::string& name, int64_t vocab, Parameter& weight);
  // x of the stream; labels i32 [N] and row_weights [N] (see head_loss) of all rows.  Loss and
  // losses are the same on every rank.
  // soft: likewise.
  HeadLoss loss(const Var& x, const Tensor& labels, const Tensor& row_weights = {},
                const SoftTargets* soft = nullptr) const;
  // x of all rows -> [N, vocab] in the wide type; no gradient.
  Tensor logits(const Tensor& x) const;
  // All rows of the stream x, without a gradient.
  Tensor all_rows(const Tensor& x, int64_t rows) const;
  // Of rows with a label (i32 [N]): the `count` likeliest tokens.  x of all rows.
  LikeliestTokens likeliest(const Tensor& x, const Tensor& labels, int64_t count,
                            double temperature) const;
  Parameter& weight() const { return weight_->parameter(); }

 private:
  VocabPart part() const;
  Tensor all_columns(const Tensor& own) const;
  std::vector<HeadAdapter> adapters(const Var& x) const;

  TensorParallel tensor_;
  int64_t vocab_;
  ParameterUse* weight_;
  std::vector<LogitsAdapter> adapters_;
};

}  // namespace orthant
