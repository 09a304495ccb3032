// SPDX-License-Identifier: Apache-2.0
// What the stages of a run cost, for a prediction to compare the run with.
#pragma once

#include "parallel/pipeline/simulator.h"

namespace orthant::pipeline {

// The mean of each stage's computations, in the timeline's unit; messages for nothing.  What a run
// loses against simulate(schedule, mean_costs(...)) are messages, and computations that took longer
// than others of their stage.
Costs mean_costs(const Schedule& schedule, const Timeline& measured);

}  // namespace orthant::pipeline
