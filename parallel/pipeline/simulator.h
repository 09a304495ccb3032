// SPDX-License-Identifier: Apache-2.0
// Runs a schedule in thought, with no buffering.
//
// A rank takes its actions in order.  A computation waits for its value; sends and receives are
// posted and hold nothing up.  A message travels when both ends are posted and the one before it
// on its channel has arrived; a channel's k-th receive gets its k-th send.  What still waits at
// the end is a deadlock.  Linear in the number of actions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel/pipeline/schedule.h"
#include "parallel/pipeline/timeline.h"

namespace orthant::pipeline {

// Of one stage and micro-batch, in any unit of time.
struct StageCost {
  double forward = 1, backward_input = 1, backward_weight = 1;
  std::optional<double> backward;  // both at once, where that is not their sum
};

struct Costs {
  StageCost all;
  std::vector<StageCost> by_stage;  // in place of `all`, where stages differ
  double transfer = 0;              // of a message

  const StageCost& of(int stage) const {
    return by_stage.empty() ? all : by_stage[static_cast<size_t>(stage)];
  }
};

struct Simulation {
  Timeline timeline;     // up to the deadlock, where there is one
  std::string deadlock;  // "" when there is none; else who waits for what, a line each
};

Simulation simulate(const Schedule& schedule, const Costs& costs);

}  // namespace orthant::pipeline
