// SPDX-License-Identifier: Apache-2.0
#include "model/context_attention.h"

#include "parallel/context/ring_attention.h"
#include "parallel/context/ulysses_attention.h"

namespace orthant {

Var ContextAttention::forward(const Var& qkv, const Pass& pass, AttentionShape shape) const {
  shape.batch = pass.rows().sequences();
  return ulysses_ ? ulysses_attention(qkv, pass.whole_doc_start, shape, group_)
                  : ring_attention(qkv, pass.doc_start, shape, group_);
}

}  // namespace orthant
