// SPDX-License-Identifier: Apache-2.0
// Pipeline schedules between processes, with messages that MPI does not buffer.
#include "base/log.h"
#include "parallel/comm/mpi/mpi_world.h"
#include "parallel/pipeline/generators.h"
#include "tests/parallel/toy_pipeline.h"

int main() {
  using namespace orthant;
  const Group world = mpi_world();
  world.set_deadline_seconds(60);
  int failures = 0;
  for (const std::string& name : pipeline::schedule_names()) {
    const pipeline::Schedule schedule =
        pipeline::make_schedule(name, world.size(), 2 * world.size() + 1);
    for (const int64_t width : {3, 100'000}) {
      const std::string difference = pipeline::run_toy_pipeline(world, schedule, width);
      if (!difference.empty()) log::error(difference);
      failures += !difference.empty();
    }
  }
  finalize_mpi();
  return failures == 0 ? 0 : 1;
}
