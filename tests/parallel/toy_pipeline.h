// SPDX-License-Identifier: Apache-2.0
// A model of small nonlinear stages, run by a schedule and by one loop: a message that is lost,
// swapped or of another micro-batch changes the result.
#pragma once

#include <string>

#include "parallel/pipeline/interpreter.h"

namespace orthant::pipeline {

// Runs the schedule on the ranks of `world` with activations of `width` elements, and compares
// this rank's weight and input gradients with those of one loop, bit by bit: "" or what differs.
// Collective.
std::string run_toy_pipeline(const Group& world, const Schedule& schedule, int64_t width);

}  // namespace orthant::pipeline
