// SPDX-License-Identifier: Apache-2.0
#include "trainer/memory_report.h"

#include <numeric>
#include <sstream>

#include "base/log.h"
#include "base/text.h"
#include "trainer/memory_plan.h"

namespace orthant {

std::string held_text(const MemoryBytes& bytes) {
  std::string parts;
  for (int i = 0; i < kNumMemoryCategories; ++i) {
    const auto category = static_cast<MemoryCategory>(i);
    if (bytes[category] == 0) continue;
    parts += concat(parts.empty() ? "" : ", ", name_of(category), " ",
                    human_bytes(static_cast<double>(bytes[category])));
  }
  return concat(human_bytes(static_cast<double>(bytes.total())), " (", parts, ")");
}

void log_memory(const std::vector<MemoryPeaks>& ranks) {
  constexpr size_t kMostLines = 16;
  std::vector<size_t> shown = {fullest_rank(ranks)};
  if (ranks.size() <= kMostLines) {
    shown.resize(ranks.size());
    std::iota(shown.begin(), shown.end(), size_t{0});
  }
  std::istringstream lines(memory_table(ranks, shown));
  log::info("memory: the most that a step held, by category");
  for (std::string line; std::getline(lines, line);) log::info(line);
}

std::vector<std::pair<std::string, double>> memory_metrics(const std::vector<MemoryPeaks>& ranks) {
  MemoryPeaks most;
  for (const MemoryPeaks& rank : ranks) most.merge(rank);
  std::vector<std::pair<std::string, double>> metrics;
  for (int i = 0; i < kNumMemoryCategories; ++i) {
    const auto category = static_cast<MemoryCategory>(i);
    metrics.emplace_back(concat("memory_", name_of(category), "_bytes"),
                         static_cast<double>(most.each[category]));
  }
  metrics.emplace_back("memory_step_bytes", static_cast<double>(most.step_bytes));
  metrics.emplace_back("memory_fullest_rank", static_cast<double>(fullest_rank(ranks)));
  return metrics;
}

}  // namespace orthant
