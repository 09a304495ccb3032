// SPDX-License-Identifier: Apache-2.0
// When each action of a schedule was or would be done: what simulate predicts and run_schedule
// measures.
#pragma once

#include <vector>

#include "parallel/pipeline/schedule.h"

namespace orthant::pipeline {

// A computation: from its start to its end.  A send or receive: from when it was posted until the
// message was there.
struct Span {
  Action action;
  double start = 0, end = 0;
};

// Times are in the unit of the costs, or in seconds.
struct Timeline {
  std::vector<std::vector<Span>> ranks;  // in program order

  double total() const;         // from the first computation's start to the last one's end
  double busy(int rank) const;  // sum of its computations
  double bubble(int rank) const { return total() - busy(rank); }
  double bubble_share() const;  // of the ranks' total time, 0 to 1
};

}  // namespace orthant::pipeline
