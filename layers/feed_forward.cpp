// SPDX-License-Identifier: Apache-2.0
#include "layers/feed_forward.h"

namespace orthant {

FeedForward::FeedForward(const LayerBuilder& build, const std::string& prefix, int64_t width,
                         int64_t inner)
    : tensor_(build.tensor()),
      gate_up_(build, prefix + "gate_up", width,
               {{prefix + "gate_proj.weight", inner, tensor_.part(inner)},
                {prefix + "up_proj.weight", inner, tensor_.part(inner)}},
               {.dtype = build.dtype}),
      down_(build, prefix + "down", inner, {{prefix + "down_proj.weight", width}},
            {.dtype = build.dtype, .own_in = tensor_.part(inner)}) {}

Var FeedForward::forward(const Var& x, int64_t rows) const {
  const Var inner = remake(swiglu, gate_up_.forward(tensor_.enter(x, rows)));
  return tensor_.leave(down_.forward(inner), rows);
}

}  // namespace orthant
