// SPDX-License-Identifier: Apache-2.0
#include "parallel/rank_groups.h"

#include <numeric>
#include <vector>

#include "parallel/comm/make_group.h"

namespace orthant {
namespace {

Mesh dense_mesh(int world_size, const ParallelConfig& config) {
  return Mesh(world_size, {{Axis::kPipeline, static_cast<int>(config.pipeline_parallel_size)},
                           {Axis::kData, static_cast<int>(config.data_parallel_size)},
                           {Axis::kContext, static_cast<int>(config.context_parallel_size)},
                           {Axis::kTensor, static_cast<int>(config.tensor_parallel_size)}});
}

// Sums go over data ranks first: their tree then joins the one over lanes, for every data-parallel
// size the same (parallel/lanes.h).
int order_in_sums(const Mesh& dense, int rank) {
  int order = 0;
  for (const Axis axis : {Axis::kTensor, Axis::kContext, Axis::kData})
    order = order * dense.size(axis) + dense.coord(rank, axis);
  return order;
}

// The lowest of the ranks that agree with this one outside `along` is the colour of a split.
Group summing_group(const Group& world, const Mesh& dense, const std::vector<int>& peers,
                    const std::string& name, Site site = Site::current()) {
  return world.split(peers.front(), order_in_sums(dense, world.rank()), name, site);
}

ReplicaGroups make_replica_groups(const Group& world, const Mesh& dense, const Mesh& expert,
                                  int key_value_copies) {
  const int rank = world.rank();
  ReplicaGroups groups;
  const std::vector<int> cell = dense.peers(rank, {Axis::kData, Axis::kContext});
  groups.dense = summing_group(world, dense, cell, "replicas");
  groups.expert =
      summing_group(world, dense, expert.peers(rank, {Axis::kExpertData}), "expert replicas");
  groups.expert_rows = groups.expert;
  if (expert.size(Axis::kExpertTensor) > 1)
    groups.expert_rows =
        summing_group(world, dense, expert.peers(rank, {Axis::kExpertData, Axis::kExpertTensor}),
                      "expert replicas x etp");
  groups.rows = groups.key_value = groups.dense;
  if (dense.size(Axis::kTensor) == 1) return groups;
  const std::vector<int> all = dense.peers(rank, {Axis::kData, Axis::kContext, Axis::kTensor});
  groups.rows = summing_group(world, dense, all, "replicas x tp");
  if (key_value_copies == 1) return groups;
  std::vector<int> same_heads;
  for (const int peer : all)
    if (dense.coord(peer, Axis::kTensor) / key_value_copies ==
        dense.coord(rank, Axis::kTensor) / key_value_copies)
      same_heads.push_back(peer);
  groups.key_value = summing_group(world, dense, same_heads, "replicas x kv copies");
  return groups;
}

}  // namespace

RankGroups make_rank_groups(const Group& world, const ParallelConfig& config, int64_t kv_heads) {
  const int ep = static_cast<int>(config.expert_parallel_size);
  const int etp = static_cast<int>(config.expert_tensor_parallel_size);
  const int tp = static_cast<int>(config.tensor_parallel_size);
  const Mesh dense = dense_mesh(world.size(), config);
  const int pp = static_cast<int>(config.pipeline_parallel_size), stage = world.size() / pp;
  const Mesh expert(world.size(), {{Axis::kPipeline, pp},
                                   {Axis::kExpertData, stage / (ep * etp)},
                                   {Axis::kExpert, ep},
                                   {Axis::kExpertTensor, etp}});
  check_same_peers(dense, expert, Axis::kPipeline);
  // The smallest blocks of a stage's ranks that hold all of both views.
  const int holders = std::lcm(tp, ep * etp);
  RankGroups groups{.world = world};
  groups.replicas = make_replica_groups(world, dense, expert, config.key_value_copies(kv_heads));
  groups.data = make_group(world, dense, {Axis::kData}, "dp");
  groups.pipeline = make_group(world, dense, {Axis::kPipeline}, "pp");
  groups.context = make_group(world, dense, {Axis::kContext}, "cp");
  groups.tensor = make_group(world, dense, {Axis::kTensor}, "tp");
  groups.losses = make_group(world, dense, {Axis::kPipeline, Axis::kContext}, "pp x cp");
  groups.micro_batch = make_group(world, dense, {Axis::kContext, Axis::kTensor}, "cp x tp");
  groups.model = world.split(world.rank() % stage / holders, world.rank(), "model");
  groups.experts = make_group(world, expert, {Axis::kExpert, Axis::kExpertTensor}, "ep");
  groups.expert_parallel_size = ep;
  groups.expert_tensor_parallel_size = etp;
  groups.sequence_parallel = config.sequence_parallel;
  groups.ulysses = config.context_parallel_kind == ContextKind::kUlysses;
  return groups;
}

}  // namespace orthant
