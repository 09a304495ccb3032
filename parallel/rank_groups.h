// SPDX-License-Identifier: Apache-2.0
// The groups that a rank is in: made once, all of them, in one fixed order.
//
// The same ranks are seen twice: by the dense part of the model as (data, tensor), and by its
// experts, folded over the same ranks as (expert data, expert, expert tensor); the last axis varies
// fastest.
#pragma once

#include "parallel/buckets.h"
#include "parallel/comm/group.h"
#include "parallel/config.h"

namespace orthant {

struct RankGroups {
  Group world = Group::self();
  Group data = Group::self();    // ranks that differ in their micro-batches alone
  Group tensor = Group::self();  // share the layers' heads, inner widths and the vocabulary
  Group model = Group::self();   // hold all of the model together, some of it more than once
  ReplicaGroups replicas = {Group::self(), Group::self(), Group::self(), Group::self()};
  // Hold each expert once, together: what tokens travel in.  Rank = expert-parallel rank *
  // expert-tensor size + expert-tensor rank.
  Group experts = Group::self();
  int expert_parallel_size = 1, expert_tensor_parallel_size = 1;
  // Tensor-parallel ranks keep rows of their own between the blocks.
  bool sequence_parallel = true;

  int expert_rank() const { return experts.rank() / expert_tensor_parallel_size; }
  int expert_tensor_rank() const { return experts.rank() % expert_tensor_parallel_size; }
};

// config is resolved for world.size() ranks.  Collective.
RankGroups make_rank_groups(const Group& world, const ParallelConfig& config);

}  // namespace orthant
