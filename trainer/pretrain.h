// SPDX-License-Identifier: Apache-2.0
// The pre-training loop.
#pragma once

#include <atomic>

#include "parallel/comm/group.h"
#include "trainer/run_plan.h"

namespace orthant {

struct PretrainOptions {
  RunPlan plan;  // for the ranks of the group
  // Set by a signal handler: save and leave at the end of the step.
  const std::atomic<bool>* stop = nullptr;
  double start_seconds = 0;  // now_seconds() when the process began
};

struct PretrainResult {
  int64_t step = 0;
  bool interrupted = false;  // saved before max_steps: exit code 75
};

// Trains to run.max_steps, resuming from the newest valid checkpoint of the run directory.
// Collective over `world`, which is the data-parallel group.
PretrainResult pretrain(const PretrainOptions& options, const Group& world);

}  // namespace orthant
