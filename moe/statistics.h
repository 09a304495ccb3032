// SPDX-License-Identifier: Apache-2.0
// How evenly the router loads the experts.
#pragma once

#include <span>
#include <vector>

namespace orthant {

// Of one layer, over any tokens; 1 and 1 where there are none.
struct LoadStatistics {
  double max_over_mean = 1;  // greatest load over the mean one; 1 = perfectly even
  double entropy = 1;        // of the loads' shares, over ln(experts); 1 = perfectly even
};
LoadStatistics load_statistics(std::span<const double> counts);

// Of a model: the worst layer of each, and of all assignments the share that was dropped.
struct RoutingStatistics {
  double max_over_mean = 1, entropy = 1, dropped_fraction = 0;
};
// By layer: tokens by expert as they were chosen, and assignments that were dropped.
RoutingStatistics routing_statistics(const std::vector<std::vector<double>>& counts,
                                     const std::vector<double>& dropped);

// Loads over their mean.
std::vector<double> relative_loads(std::span<const double> counts);

}  // namespace orthant
