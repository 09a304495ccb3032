// SPDX-License-Identifier: Apache-2.0
#include "launch/memory_text.h"

#include <unistd.h>

#include <cstdio>
#include <sstream>

#include "base/text.h"
#include "trainer/memory_plan.h"
#include "trainer/run/memory_report.h"

namespace orthant {

void print_memory(const RunPlan& plan) {
  const RunConfig& c = plan.config();
  const int world_size = plan.world_size();
  constexpr int kMostRanks = 512;  // they are threads of this process
  if (world_size > kMostRanks) {
    std::printf("#   memory            not predicted for more than %d ranks\n", kMostRanks);
    return;
  }
  const double here =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  // The prediction has all token columns of a step at hand, and each rank's passes of them.
  const double columns = 64.0 * static_cast<double>(c.batch.global_batch_size) *
                         static_cast<double>(c.batch.sequence_length);
  if (columns > here / 2) {
    std::printf(
        "#   memory            not predicted: the tokens of a step alone take %s, and this "
        "machine has %s\n",
        human_bytes(columns).c_str(), human_bytes(here).c_str());
    return;
  }
  const std::vector<MemoryPeaks> ranks = predict_memory(plan);
  const auto per_stage = ranks.size() / static_cast<size_t>(c.parallel.pipeline_parallel_size);
  std::vector<size_t> shown;
  for (size_t first = 0; first < ranks.size(); first += per_stage) {
    const auto begin = ranks.begin() + static_cast<std::ptrdiff_t>(first);
    shown.push_back(first + fullest_rank({begin, begin + static_cast<std::ptrdiff_t>(per_stage)}));
  }
  std::printf(
      "#   memory            the most that a step holds, by category%s%s; no checkpoint on its "
      "way\n",
      shown.size() > 1 ? ", of the fullest rank of each pipeline stage" : "",
      c.model.is_moe() ? "; experts evenly loaded" : "");
  std::istringstream lines(memory_table(ranks, shown));
  for (std::string line; std::getline(lines, line);) std::printf("#     %s\n", line.c_str());
  if (c.device != "cpu") return;
  double all = 0;
  for (const MemoryPeaks& rank : ranks) all += static_cast<double>(rank.total());
  if (all > here)
    std::printf(
        "#   warning           %s on all ranks together, this machine has %s: more machines, "
        "fewer tokens at once, parallel.recompute, or ranks that share the model\n",
        human_bytes(all).c_str(), human_bytes(here).c_str());
}

}  // namespace orthant
