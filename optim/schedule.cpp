// SPDX-License-Identifier: Apache-2.0
#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace orthant {

double learning_rate_at(const ScheduleConfig& schedule, double peak, int64_t step) {
  if (step <= schedule.warmup_steps) {
    return peak * static_cast<double>(step) / static_cast<double>(schedule.warmup_steps);
  }
  if (schedule.name == "constant") return peak;
  const int64_t length = std::max<int64_t>(1, schedule.total_steps - schedule.warmup_steps);
  const double done = std::min(
      1.0, static_cast<double>(step - schedule.warmup_steps) / static_cast<double>(length));
  const double low = std::min(peak, schedule.min_learning_rate);
  const double shape =
      schedule.name == "linear" ? 1.0 - done : 0.5 * (1.0 + std::cos(std::numbers::pi * done));
  return low + (peak - low) * shape;
}

}  // namespace orthant
