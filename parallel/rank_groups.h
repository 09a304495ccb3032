// SPDX-License-Identifier: Apache-2.0
// The groups that a rank is in: made once, all of them, in one fixed order.
//
// The same ranks are seen twice: by the dense part of the model (replicas that share the step's
// micro-batches), and by its experts, folded over the same ranks as (expert data, expert, expert
// tensor), the last varying fastest.
#pragma once

#include "parallel/comm/group.h"
#include "parallel/config.h"

namespace orthant {

struct RankGroups {
  Group world;
  Group data;         // ranks that hold the same dense parameters
  Group expert_data;  // ranks that hold the same experts, and the same parts of them
  Group experts;      // ranks that hold each expert once, together: what tokens travel in.  Rank
                      // = expert-parallel rank * expert-tensor size + expert-tensor rank
  int expert_parallel_size = 1, expert_tensor_parallel_size = 1;

  int expert_rank() const { return experts.rank() / expert_tensor_parallel_size; }
  int expert_tensor_rank() const { return experts.rank() % expert_tensor_parallel_size; }
};

// config is resolved for world.size() ranks.  Collective.
RankGroups make_rank_groups(const Group& world, const ParallelConfig& config);

}  // namespace orthant
