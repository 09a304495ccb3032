// SPDX-License-Identifier: Apache-2.0
#include "parallel/config.h"

#include <algorithm>
#include <initializer_list>

#include "base/error.h"

namespace orthant {

void ParallelConfig::fields(FieldVisitor& v) {
  v.field("data_parallel_size", data_parallel_size, at_least(0),
          "replicas that share a step's micro-batches; 0 = number of ranks");
  v.field("zero_stage", zero_stage, between(0, 1),
          "1: masters and moments are shared out over data-parallel ranks; 0: every rank has all");
  v.field("expert_parallel_size", expert_parallel_size, at_least(1),
          "ranks that share the routed experts of a layer");
  v.field("expert_tensor_parallel_size", expert_tensor_parallel_size, at_least(1),
          "ranks that share the inner width of each routed expert");
  v.field("recompute", recompute, one_of({"none", "full"}),
          "full: keep only the layers' inputs and run them again in backward");
  v.field("timeout_seconds", timeout_seconds, positive(), "deadline of every collective operation");
  v.field("device_transport", device_transport, one_of({"auto", "staged", "nccl"}),
          "tensors of devices travel directly (nccl) or through host memory (staged); auto: nccl "
          "unless ranks share a device");
  v.alias("dp", "data_parallel_size");
  v.alias("ep", "expert_parallel_size");
  v.alias("etp", "expert_tensor_parallel_size");
  v.alias("expert_model_parallel_size", "expert_parallel_size");
}

std::string ParallelConfig::text() const {
  std::string text = concat("dp ", data_parallel_size);
  if (expert_parallel_size > 1) text += concat(", ep ", expert_parallel_size);
  if (expert_tensor_parallel_size > 1) text += concat(", etp ", expert_tensor_parallel_size);
  return text;
}

void ParallelConfig::resolve(int world_size, int64_t micro_batches) {
  ORTHANT_CHECK(data_parallel_size == 0 || data_parallel_size == world_size, kConfig,
                "parallel.data_parallel_size: want the number of ranks, ", world_size, ", got ",
                data_parallel_size, "; start it with mpirun -n ", data_parallel_size,
                ", or leave the key out");
  data_parallel_size = world_size;
  if (micro_batches % world_size == 0) return;
  int64_t below = world_size, above = world_size;
  while (micro_batches % below != 0) --below;
  while (above <= micro_batches && micro_batches % above != 0) ++above;
  const std::string nearest = above <= micro_batches ? concat(below, " or ", above) : concat(below);
  throw_error(
      ErrorKind::kConfig,
      concat("batch: a step has ", micro_batches,
             " micro-batches (global_batch_size / micro_batch_size), which ", world_size,
             " ranks cannot share evenly; the nearest numbers of ranks that can: ", nearest));
}

namespace {

// "1, 2, 4": what divides all of `numbers`.
std::string common_divisors(std::initializer_list<int64_t> numbers) {
  std::string text;
  for (int64_t d = 1; d <= *numbers.begin(); ++d) {
    if (std::all_of(numbers.begin(), numbers.end(), [d](int64_t n) { return n % d == 0; }))
      text += concat(text.empty() ? "" : ", ", d);
  }
  return text;
}

}  // namespace

void ParallelConfig::check_experts(int world_size, int64_t num_experts,
                                   int64_t expert_width) const {
  const int64_t ep = expert_parallel_size, etp = expert_tensor_parallel_size;
  if (num_experts == 0) {
    ORTHANT_CHECK(ep == 1 && etp == 1, kConfig,
                  "parallel.expert_parallel_size: the model has no experts "
                  "(model.n_routed_experts is 0), got ",
                  ep, " x expert_tensor_parallel_size ", etp, "; leave both at 1");
    return;
  }
  ORTHANT_CHECK(world_size % (ep * etp) == 0, kConfig, "parallel.expert_parallel_size: ", ep,
                " x expert_tensor_parallel_size ", etp, " = ", ep * etp, " does not divide ",
                world_size, " ranks");
  ORTHANT_CHECK(num_experts % ep == 0, kConfig, "parallel.expert_parallel_size: ", ep,
                " does not divide model.n_routed_experts ", num_experts, "; with ", world_size,
                " ranks it can be ", common_divisors({world_size, num_experts}));
  ORTHANT_CHECK(expert_width % etp == 0, kConfig, "parallel.expert_tensor_parallel_size: ", etp,
                " does not divide model.moe_intermediate_size ", expert_width, "; with ",
                world_size, " ranks it can be ", common_divisors({world_size, expert_width}));
}

}  // namespace orthant
