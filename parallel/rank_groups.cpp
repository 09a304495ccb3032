// SPDX-License-Identifier: Apache-2.0
#include "parallel/rank_groups.h"

#include <numeric>

#include "parallel/comm/make_group.h"

namespace orthant {
namespace {

Mesh dense_mesh(int world_size, const ParallelConfig& config) {
  return Mesh(world_size, {{Axis::kData, static_cast<int>(config.data_parallel_size)},
                           {Axis::kTensor, static_cast<int>(config.tensor_parallel_size)}});
}

// Sums go over data ranks first: their tree then joins the one over lanes, for every data-parallel
// size the same (parallel/lanes.h).
int order_in_sums(const Mesh& dense, int rank) {
  return dense.coord(rank, Axis::kTensor) * dense.size(Axis::kData) +
         dense.coord(rank, Axis::kData);
}

ReplicaGroups make_replica_groups(const Group& world, const Mesh& dense, const Mesh& expert,
                                  int key_value_copies) {
  const int rank = world.rank(), order = order_in_sums(dense, rank);
  ReplicaGroups groups;
  groups.dense = make_group(world, dense, {Axis::kData}, "dp");
  groups.expert =
      world.split(expert.peers(rank, {Axis::kExpertData}).front(), order, "edp", Site::current());
  groups.rows = groups.key_value = groups.dense;
  if (dense.size(Axis::kTensor) == 1) return groups;
  groups.rows = world.split(dense.peers(rank, {Axis::kData, Axis::kTensor}).front(), order,
                            "dp x tp", Site::current());
  if (key_value_copies > 1)
    groups.key_value = world.split(dense.coord(rank, Axis::kTensor) / key_value_copies, order,
                                   "dp x kv copies", Site::current());
  return groups;
}

}  // namespace

RankGroups make_rank_groups(const Group& world, const ParallelConfig& config) {
  const int ep = static_cast<int>(config.expert_parallel_size);
  const int etp = static_cast<int>(config.expert_tensor_parallel_size);
  const int tp = static_cast<int>(config.tensor_parallel_size);
  const Mesh dense = dense_mesh(world.size(), config);
  const Mesh expert(world.size(), {{Axis::kExpertData, world.size() / (ep * etp)},
                                   {Axis::kExpert, ep},
                                   {Axis::kExpertTensor, etp}});
  // The smallest blocks of ranks that hold all of both views.
  const int holders = std::lcm(tp, ep * etp);
  RankGroups groups{.world = world};
  groups.replicas =
      make_replica_groups(world, dense, expert, static_cast<int>(config.key_value_copies));
  groups.data = groups.replicas.dense;
  groups.tensor = make_group(world, dense, {Axis::kTensor}, "tp");
  groups.model = world.split(world.rank() / holders, world.rank(), "model");
  groups.experts = make_group(world, expert, {Axis::kExpert, Axis::kExpertTensor}, "ep");
  groups.expert_parallel_size = ep;
  groups.expert_tensor_parallel_size = etp;
  groups.sequence_parallel = config.sequence_parallel;
  return groups;
}

}  // namespace orthant
