// SPDX-License-Identifier: Apache-2.0
// What lets a layer's tokens see each other: the seam between a block and the kinds of attention.
#pragma once

#include <memory>
#include <string>

#include "layers/linear.h"
#include "model/config.h"
#include "model/kv_cache.h"
#include "model/pass.h"

namespace orthant {

class Attention {
 public:
  virtual ~Attention() = default;
  // x of the stream (layers/tensor_parallel.h) -> what is added to it.  Collective over the tensor
  // and the context group, forward and backward.
  virtual Var forward(const Var& x, const Pass& pass) const = 0;
  // What decode() remembers of a token.
  virtual CacheRow cache_row() const = 0;
  // The same for the step's new tokens, which see those in the cache and are put there too.  No
  // tape.  Collective over the tensor group.
  virtual Var decode(const Var& x, const DecodeStep& step, LayerCache& cache) const = 0;
};

// The kind that the configuration wants.  rotary: of the whole model.
std::unique_ptr<Attention> make_attention(const LayerBuilder& build, const std::string& prefix,
                                          const ModelConfig& config, int64_t layer,
                                          const RotaryTable& rotary);

// What that takes, of a whole layer.
struct AttentionCounts {
  int64_t parameters = 0;  // in matrix products
  int64_t vectors = 0;     // of norms, and biases
  int64_t per_key = 0;     // multiplications of a query with one key and its value
};
AttentionCounts attention_counts(const ModelConfig& config);

}  // namespace orthant
