// SPDX-License-Identifier: Apache-2.0
// What the mains of tests under mpirun share.
#pragma once

#include <cstdio>
#include <functional>
#include <string>

#include "base/context.h"
#include "base/error.h"
#include "parallel/agree_isa.h"
#include "parallel/comm/mpi/mpi_world.h"

namespace orthant::testing {

// Runs `body` in checked mode, all ranks at one ISA level; it returns what went wrong on this rank,
// which is printed.  The exit code: 0 when nothing did on any rank.
inline int run_mpi_test(const char* name,
                        const std::function<std::string(const Group& world)>& body) {
  RankContext context;
  const ContextScope scope(context);
  try {
    ORTHANT_CHECK(launched_by_mpi(), kUsage, name, ": start it with mpirun");
    const Group world = mpi_world();
    world.set_check_collectives(true);
    context.rank = world.rank();
    context.world_size = world.size();
    context.label = concat("r", world.rank());
    world.set_deadline_seconds(60);
    agree_on_isa(world);
    bool good = true;
    for (const std::string& text : world.gather_text(body(world))) {
      if (world.rank() == 0) std::printf("%s", text.c_str());
      good = good && text.empty();
    }
    if (world.rank() == 0 && good) std::printf("ok: %d ranks\n", world.size());
    finalize_mpi();
    return good ? 0 : 1;
  } catch (const Error& error) {
    std::fprintf(stderr, "rank %d: %s\n", context.rank, error.what());
    abort_mpi(error.exit_code());
  }
}

}  // namespace orthant::testing
