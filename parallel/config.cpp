// SPDX-License-Identifier: Apache-2.0
#include "parallel/config.h"

#include "base/error.h"

namespace orthant {

void ParallelConfig::fields(FieldVisitor& v) {
  v.field("data_parallel_size", data_parallel_size, at_least(0),
          "replicas that share a step's micro-batches; 0 = number of ranks");
  v.field("recompute", recompute, one_of({"none", "full"}),
          "full: keep only the layers' inputs and run them again in backward");
  v.field("timeout_seconds", timeout_seconds, positive(), "deadline of every collective operation");
  v.field("check_collectives", check_collectives,
          "ranks agree on every collective before it moves data: slower, and names both sides of a "
          "mismatch");
  v.alias("dp", "data_parallel_size");
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

}  // namespace orthant
