// SPDX-License-Identifier: Apache-2.0
// The groups that a rank is in: made once, all of them, in one fixed order.
//
// The same ranks are seen twice: by the dense part of the model as (pipeline, data, context,
// tensor), and by its experts, folded over the same ranks as (pipeline, expert data, expert, expert
// tensor); the last axis varies fastest.
#pragma once

#include "parallel/buckets.h"
#include "parallel/comm/group.h"
#include "parallel/config.h"
#include "parallel/token_rows.h"

namespace orthant {

struct RankGroups {
  Group world = Group::self();
  Group data = Group::self();         // ranks that differ in their micro-batches alone
  Group pipeline = Group::self();     // hold the stages of one replica
  Group context = Group::self();      // share the tokens of every sequence
  Group tensor = Group::self();       // share the layers' heads, inner widths and the vocabulary
  Group micro_batch = Group::self();  // work on one micro-batch, in a stage: context x tensor
  Group losses = Group::self();       // have parts of a micro-batch's losses: pipeline x context
  Group model = Group::self();        // hold all of the model together, some of it more than once
  ReplicaGroups replicas = {Group::self(), Group::self(), Group::self(), Group::self(),
                            Group::self()};
  // Hold each expert once, together: what tokens travel in.  Rank = expert-parallel rank *
  // expert-tensor size + expert-tensor rank.
  Group experts = Group::self();
  int expert_parallel_size = 1, expert_tensor_parallel_size = 1;
  // Tensor-parallel ranks keep rows of their own between the blocks.
  bool sequence_parallel = true;
  bool ulysses = false;  // how attention crosses the context

  // The rows of a micro-batch that are this rank's.
  TokenRows rows_of(int64_t sequences, int64_t length) const {
    return {context, tensor, micro_batch, sequences, length};
  }
  int expert_rank() const { return experts.rank() / expert_tensor_parallel_size; }
  int expert_tensor_rank() const { return experts.rank() % expert_tensor_parallel_size; }
};

// config is resolved for world.size() ranks, kv_heads of the model.  Collective.
RankGroups make_rank_groups(const Group& world, const ParallelConfig& config, int64_t kv_heads);

}  // namespace orthant
