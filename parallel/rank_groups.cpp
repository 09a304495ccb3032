// SPDX-License-Identifier: Apache-2.0
#include "parallel/rank_groups.h"

#include "parallel/comm/make_group.h"

namespace orthant {

RankGroups make_rank_groups(const Group& world, const ParallelConfig& config) {
  const int ep = static_cast<int>(config.expert_parallel_size);
  const int etp = static_cast<int>(config.expert_tensor_parallel_size);
  const Mesh dense(world.size(), {{Axis::kData, static_cast<int>(config.data_parallel_size)}});
  const Mesh expert(world.size(), {{Axis::kExpertData, world.size() / (ep * etp)},
                                   {Axis::kExpert, ep},
                                   {Axis::kExpertTensor, etp}});
  return {.world = world,
          .data = make_group(world, dense, {Axis::kData}, "dp"),
          .expert_data = make_group(world, expert, {Axis::kExpertData}, "edp"),
          .experts = make_group(world, expert, {Axis::kExpert, Axis::kExpertTensor}, "ep"),
          .expert_parallel_size = ep,
          .expert_tensor_parallel_size = etp};
}

}  // namespace orthant
