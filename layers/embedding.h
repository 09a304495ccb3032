// SPDX-License-Identifier: Apache-2.0
// From token ids to the stream; tensor-parallel ranks share the vocabulary.
#pragma once

#include "layers/builder.h"

namespace orthant {

class Embedding {
 public:
  // tied kOwner: another stage has the head.
  Embedding(const LayerBuilder& build, const std::string& name, int64_t vocab, int64_t width,
            Tied tied = Tied::kNo);
  // ids i32 [N] of all rows, on the host or the weight's device -> the stream.
  Var forward(const Tensor& ids) const;
  Parameter& weight() const { return weight_->parameter(); }

 private:
  TensorParallel tensor_;
  DimPart own_;  // ids
  ParameterUse* weight_;
};

}  // namespace orthant
