// SPDX-License-Identifier: Apache-2.0
// Attention over sequences that a group of ranks holds in parts: tokens go to the ranks of their
// heads, and back.  Jacobs et al., "DeepSpeed Ulysses", arXiv:2309.14509.
#pragma once

#include <string>

#include "parallel/comm/group.h"
#include "tensor/autograd/ops.h"

namespace orthant {

// Like attention() (tensor/autograd/ops.h), for this rank's tokens of every sequence as
// SequenceSplit cuts them: qkv [B*T/P, v_end].  doc_start i32 [B*T] is that of the whole sequences,
// in order, on every rank.  Collective over the group, forward and backward.  A rank computes
// attention of heads / P and kv_heads / P heads over whole sequences: the bits are those of
// attention().
Var ulysses_attention(const Var& qkv, const Tensor& doc_start, const AttentionShape& shape,
                      const Group& group, Site site = Site::current());

// Why the heads cannot be shared by so many ranks; empty: they can.
std::string why_not_ulysses(int64_t heads, int64_t kv_heads, int num_ranks);

}  // namespace orthant
