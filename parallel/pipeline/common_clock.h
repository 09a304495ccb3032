// SPDX-License-Identifier: Apache-2.0
// One clock for the ranks of a pipeline, so that what they measure can be drawn together.
#pragma once

#include <functional>
#include <string>

#include "parallel/comm/group.h"

namespace orthant::pipeline {

// A rank's clock, and whose it is: processes of one booted machine have the same.
struct RankClock {
  std::function<double()> seconds;
  std::string machine;
};
RankClock own_clock();

// By how many seconds this rank's clock is ahead of rank 0's.  0 on one machine; between machines
// the median difference of what clocks show behind a barrier, several times.  Collective.
double clock_lead(const Group& group, const RankClock& clock = own_clock());

}  // namespace orthant::pipeline
