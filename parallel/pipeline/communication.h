// SPDX-License-Identifier: Apache-2.0
// Adds messages to a schedule of computations.
#pragma once

#include "parallel/pipeline/schedule.h"

namespace orthant::pipeline {

// A send stands right behind the computation that makes its value.  A receive is posted `ahead`
// computations before the one that needs it, so that the message travels meanwhile; each takes a
// buffer for that long.  Where a rank needs the messages of a channel in another order than they
// are sent, it posts the earlier ones along with the one it needs first (P3).
Schedule insert_communication(const Schedule& schedule, int ahead = 1);

}  // namespace orthant::pipeline
