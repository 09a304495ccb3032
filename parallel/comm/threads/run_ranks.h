// SPDX-License-Identifier: Apache-2.0
// Runs a function on n ranks that are threads of this process: how most parallel tests run.
#pragma once

#include <functional>

#include "parallel/comm/group.h"

namespace orthant {

struct RunRanksOptions {
  double deadline_seconds = 60;
  int threads_per_rank = 1;
  bool check_collectives = true;  // parallel/comm/contract.h
  bool stage_everything = false;  // as if all tensors were a device's (parallel/comm/host_group.h)
};

// Each rank has a thread, a RankContext of its own (label "r3", its own ledger) and the world
// group. When a rank throws, the others wake with Error(kComm) from whatever they wait for, and the
// first error is thrown here, as an Error of its kind whose text starts with "rank 3: ".  A rank
// that returns first completes the operations it has not waited for.  When collectives are checked,
// a message that nobody received is an Error(kComm).
void run_ranks(int n, const std::function<void(const Group& world)>& body,
               const RunRanksOptions& options = {});

}  // namespace orthant
