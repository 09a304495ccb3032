// SPDX-License-Identifier: Apache-2.0
// From token ids to the stream; tensor-parallel ranks share the vocabulary.
#pragma once

#include "layers/builder.h"

namespace orthant {

class Embedding {
 public:
  // tied: another stage uses the weight too (kOwner), or has it (kMirror).
  Embedding(const LayerBuilder& build, const std::string& name, int64_t vocab, int64_t width,
            Tied tied = Tied::kNo);
  // Another use of an embedding's weight, called `name`; without an adapter.
  Embedding(const LayerBuilder& build, const std::string& name, int64_t vocab, Parameter& weight);
  // ids i32 [N] of all rows, on the host or the weight's device -> the stream.
  Var forward(const Tensor& ids) const;
  Parameter& weight() const { return weight_->parameter(); }

 private:
  Var rows_of(const Tensor& ids) const;

  TensorParallel tensor_;
  DimPart own_;  // ids
  ParameterUse* weight_;
  std::vector<EmbeddingAdapter> adapters_ = {};
};

}  // namespace orthant
