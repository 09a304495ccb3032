// SPDX-License-Identifier: Apache-2.0
#include "moe/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace orthant {
namespace {

double sum_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

}  // namespace

LoadStatistics load_statistics(std::span<const double> counts) {
  const double total = sum_of(counts), experts = static_cast<double>(counts.size());
  LoadStatistics result;
  if (total == 0 || counts.size() < 2) return result;
  result.max_over_mean = *std::max_element(counts.begin(), counts.end()) * experts / total;
  double entropy = 0;
  for (const double count : counts)
    if (count > 0) entropy -= count / total * std::log(count / total);
  result.entropy = entropy / std::log(experts);
  return result;
}

RoutingStatistics routing_statistics(const std::vector<std::vector<double>>& counts,
                                     const std::vector<double>& dropped) {
  RoutingStatistics result;
  double assignments = 0;
  for (const std::vector<double>& layer : counts) {
    const LoadStatistics load = load_statistics(layer);
    result.max_over_mean = std::max(result.max_over_mean, load.max_over_mean);
    result.entropy = std::min(result.entropy, load.entropy);
    assignments += sum_of(layer);
  }
  if (assignments > 0) result.dropped_fraction = sum_of(dropped) / assignments;
  return result;
}

std::vector<double> relative_loads(std::span<const double> counts) {
  const double mean = sum_of(counts) / static_cast<double>(counts.size());
  std::vector<double> loads(counts.begin(), counts.end());
  for (double& load : loads) load = mean > 0 ? load / mean : 0.0;
  return loads;
}

}  // namespace orthant
