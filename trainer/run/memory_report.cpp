// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/memory_report.h"

#include <algorithm>
#include <numeric>
#include <sstream>

#include "base/log.h"
#include "base/text.h"

namespace orthant {
namespace {

std::vector<int64_t> numbers_of(const MemoryPeaks& peaks) {
  std::vector<int64_t> numbers(peaks.each.by_category.begin(), peaks.each.by_category.end());
  numbers.insert(numbers.end(), peaks.at_peak.by_category.begin(), peaks.at_peak.by_category.end());
  numbers.push_back(peaks.step_bytes);
  numbers.push_back(peaks.block_bytes);
  return numbers;
}

MemoryPeaks peaks_of(const int64_t* numbers) {
  MemoryPeaks peaks;
  for (int64_t& bytes : peaks.each.by_category) bytes = *numbers++;
  for (int64_t& bytes : peaks.at_peak.by_category) bytes = *numbers++;
  peaks.step_bytes = *numbers++;
  peaks.block_bytes = *numbers++;
  return peaks;
}

}  // namespace

std::vector<MemoryPeaks> gather_peaks(const Group& world, const MemoryPeaks& own) {
  const std::vector<int64_t> mine = numbers_of(own);
  const auto count = std::ssize(mine);
  const Tensor sent = Tensor::empty({count}, DType::kI64);
  const Tensor all = Tensor::empty({count * world.size()}, DType::kI64);
  std::copy(mine.begin(), mine.end(), sent.as<int64_t>());
  world.all_gather(sent, all).wait();
  std::vector<MemoryPeaks> ranks;
  for (int r = 0; r < world.size(); ++r) ranks.push_back(peaks_of(all.as<int64_t>() + r * count));
  return ranks;
}

size_t fullest_rank(const std::vector<MemoryPeaks>& ranks) {
  const auto fullest = std::max_element(
      ranks.begin(), ranks.end(),
      [](const MemoryPeaks& a, const MemoryPeaks& b) { return a.total() < b.total(); });
  return static_cast<size_t>(fullest - ranks.begin());
}

std::string memory_table(const std::vector<MemoryPeaks>& ranks, const std::vector<size_t>& shown) {
  const auto padded = [](const std::string& text, size_t width) {
    return std::string(width > text.size() ? width - text.size() : 0, ' ') + text;
  };
  std::string table = "rank ";
  for (int i = 0; i < kNumMemoryCategories; ++i)
    table += padded(std::string(name_of(static_cast<MemoryCategory>(i))), 14);
  table += padded("step", 14) + padded("all", 14);
  for (const size_t rank : shown) {
    table += "\n" + padded(std::to_string(rank), 4) + " ";
    for (const int64_t bytes : ranks[rank].each.by_category)
      table += padded(human_bytes(static_cast<double>(bytes)), 14);
    for (const int64_t bytes : {ranks[rank].step_bytes, ranks[rank].total()})
      table += padded(human_bytes(static_cast<double>(bytes)), 14);
  }
  return table;
}

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
