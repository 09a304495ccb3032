// SPDX-License-Identifier: Apache-2.0
// Attention of a layer's heads over sequences of which context-parallel ranks hold parts.
#pragma once

#include "model/pass.h"
#include "parallel/rank_groups.h"
#include "tensor/autograd/ops.h"

namespace orthant {

class ContextAttention {
 public:
  explicit ContextAttention(const RankGroups& ranks)
      : group_(ranks.context), ulysses_(ranks.ulysses) {}
  // qkv [local rows, shape.v_end()] -> [local rows, heads * v_dim]; the shape's batch is the
  // pass's.  Collective over the context group, forward and backward.
  Var forward(const Var& qkv, const Pass& pass, AttentionShape shape) const;

 private:
  Group group_;
  bool ulysses_;
};

}  // namespace orthant
