// SPDX-License-Identifier: Apache-2.0
#include "moe/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace orthant {
namespace {

TEST(LoadStatistics, OfLoadsThatCanBeWorkedOut) {
  const std::vector<double> even = {5, 5, 5, 5}, one = {0, 0, 12, 0}, half = {3, 0, 3, 0};
  EXPECT_DOUBLE_EQ(load_statistics(even).max_over_mean, 1);
  EXPECT_DOUBLE_EQ(load_statistics(even).entropy, 1);
  EXPECT_DOUBLE_EQ(load_statistics(one).max_over_mean, 4);
  EXPECT_DOUBLE_EQ(load_statistics(one).entropy, 0);
  EXPECT_DOUBLE_EQ(load_statistics(half).max_over_mean, 2);
  EXPECT_DOUBLE_EQ(load_statistics(half).entropy, 0.5);
  EXPECT_EQ(relative_loads(half), (std::vector<double>{2, 0, 2, 0}));
}

TEST(LoadStatistics, OfNothing) {
  EXPECT_EQ(load_statistics(std::vector<double>{0, 0}).max_over_mean, 1);
  EXPECT_EQ(load_statistics(std::vector<double>{7}).entropy, 1);
  EXPECT_EQ(routing_statistics({}, {}).dropped_fraction, 0);
  EXPECT_EQ(relative_loads(std::vector<double>{0, 0}), (std::vector<double>{0, 0}));
}

TEST(RoutingStatistics, TakeTheWorstLayerAndAllThatWasDropped) {
  const RoutingStatistics s = routing_statistics({{4, 4}, {8, 0}, {2, 6}}, {1, 4, 1});
  EXPECT_DOUBLE_EQ(s.max_over_mean, 2);
  EXPECT_DOUBLE_EQ(s.entropy, 0);
  EXPECT_DOUBLE_EQ(s.dropped_fraction, 0.25);
}

}  // namespace
}  // namespace orthant
