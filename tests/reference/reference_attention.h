// SPDX-License-Identifier: Apache-2.0
// A layer's attention in the reference model, with heads of their own or out of latents.
#pragma once

#include <functional>
#include <string>

#include "tests/reference/reference_ops.h"

namespace orthant::testing {

// Where a layer's weights and their gradients are.
struct NamedWeights {
  std::function<const Matrix&(const std::string& name)> value;
  std::function<Matrix&(const std::string& name)> gradient;
  std::string prefix;  // "model.layers.0.self_attn."
};

// Of one row of tokens.
class AttentionPass {
 public:
  // x [T, width], normed -> what is added to the stream.
  Matrix forward(const ReferenceShape& shape, const NamedWeights& weights, const ReferenceRow& row,
                 int64_t window, const Matrix& x);
  // Adds to the weights' gradients; returns that of x.
  Matrix backward(const ReferenceShape& shape, const NamedWeights& weights, const ReferenceRow& row,
                  const Matrix& dy) const;

 private:
  Matrix x_;
  Attention a_;
  // Latents of queries, and of keys and values beside the shared key; normed; keys and values by
  // head.  Without latents, queries and keys before their norms.
  Matrix query_, down_, query_normed_, latent_, normed_, kv_;
};

}  // namespace orthant::testing
