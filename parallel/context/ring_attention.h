// SPDX-License-Identifier: Apache-2.0
// Attention over sequences that a group of ranks holds in parts: keys and values go round.
// Liu, Zaharia and Abbeel, "Ring Attention", arXiv:2310.01889.
#pragma once

#include "parallel/comm/group.h"
#include "tensor/autograd/ops.h"

namespace orthant {

// Like attention() (tensor/autograd/ops.h), for this rank's tokens of every sequence as
// SequenceSplit cuts them: qkv [B*T/P, v_end]; doc_start i32 [B*T/P], positions in the whole
// sequence.  Collective over the group, forward and backward.  A group of one computes attention()
// itself; others give its values to rounding, the same bits on every run.
Var ring_attention(const Var& qkv, const Tensor& doc_start, const AttentionShape& shape,
                   const Group& group, Site site = Site::current());

}  // namespace orthant
