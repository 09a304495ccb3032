// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline/common_clock.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "base/clock.h"

namespace orthant::pipeline {
namespace {

constexpr int kRounds = 9;

}  // namespace

RankClock own_clock() {
  RankClock clock{.seconds = now_seconds, .machine = ""};
  std::ifstream("/proc/sys/kernel/random/boot_id") >> clock.machine;
  return clock;
}

double clock_lead(const Group& group, const RankClock& clock) {
  const std::vector<std::string> machines = group.gather_text(clock.machine);
  if (std::count(machines.begin(), machines.end(), machines[0]) == group.size()) return 0;
  std::vector<double> leads;
  for (int round = 0; round < kRounds; ++round) {
    group.barrier();
    const double mine = clock.seconds();
    leads.push_back(mine - group.sum(group.rank() == 0 ? mine : 0.0));
  }
  std::nth_element(leads.begin(), leads.begin() + kRounds / 2, leads.end());
  return leads[kRounds / 2];
}

}  // namespace orthant::pipeline
