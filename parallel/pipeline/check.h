// SPDX-License-Identifier: Apache-2.0
// Proves a schedule with its messages, but for freedom from deadlock (simulator.h).
#pragma once

#include "parallel/pipeline/schedule.h"

namespace orthant::pipeline {

// What a step takes micro-batches through.
enum class Pass { kTraining, kForward };

// Error(kInternal) that names rank, index and action unless
//   - every (stage, micro-batch) has, on the rank of its stage, one forward, and after it one
//     backward or one backward_input and one backward_weight in this order;
//   - a computation finds what it needs: received before, or made before where the neighbouring
//     stage is on the same rank (P2);
//   - every value that is a message is sent once, after it was made, and received once, and no
//     other value is;
//   - the messages of a channel are received in the order in which they are sent (P3);
//   - the weight gradients of a stage are in ascending order (P1).
// A schedule of forwards alone has nothing but these and their messages.
void check_schedule(const Schedule& schedule, Pass pass = Pass::kTraining);

}  // namespace orthant::pipeline
