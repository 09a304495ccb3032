// SPDX-License-Identifier: Apache-2.0
// The dense feed-forward block.
#pragma once

#include "layers/linear.h"

namespace orthant {

// down(silu(gate x) * up x); tensor-parallel ranks share the inner width.
class FeedForward {
 public:
  // Logical names: prefix + "gate_proj.weight", ...
  FeedForward(const LayerBuilder& build, const std::string& prefix, int64_t width, int64_t inner);
  // x of the stream, `rows` of it on all ranks.
  Var forward(const Var& x, int64_t rows) const;

 private:
  TensorParallel tensor_;
  Linear gate_up_, down_;
};

}  // namespace orthant
