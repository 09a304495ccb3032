// SPDX-License-Identifier: Apache-2.0
#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace orthant {
namespace {

// From 1 to 0 as `done` goes from 0 to 1.
double decay(ScheduleShape shape, double done) {
  if (shape == ScheduleShape::kLinear) return 1.0 - done;
  if (shape == ScheduleShape::kOneMinusSqrt) return 1.0 - std::sqrt(done);
  return 0.5 * (1.0 + std::cos(std::numbers::pi * done));
}

// DeepSeek-V2: 0.316 after 60% and again after 90% of the training.
double step_multiplier(const ScheduleConfig& schedule, int64_t step) {
  double multiplier = 1.0;
  for (const double point : schedule.step_points) {
    if (step > std::llround(point * static_cast<double>(schedule.total_steps)))
      multiplier *= schedule.step_factor;
  }
  return multiplier;
}

}  // namespace

double learning_rate_at(const ScheduleConfig& schedule, double peak, int64_t step) {
  const double low = std::min(peak, schedule.min_learning_rate);
  using enum ScheduleShape;
  const bool ends = schedule.shape != kConstant && schedule.shape != kStep;
  if (ends && step >= schedule.total_steps) return low;
  if (step <= schedule.warmup_steps) {
    return peak * static_cast<double>(step) / static_cast<double>(schedule.warmup_steps);
  }
  if (schedule.shape == kConstant) return peak;
  if (schedule.shape == kStep) return std::max(low, peak * step_multiplier(schedule, step));
  int64_t begin = schedule.warmup_steps;  // the last step at the peak
  if (schedule.shape == kWsd) {
    const int64_t decay_steps =
        std::llround(schedule.decay_fraction * static_cast<double>(schedule.total_steps));
    begin = std::max(begin, schedule.total_steps - decay_steps);
  }
  const int64_t length = std::max<int64_t>(1, schedule.total_steps - begin);
  const double done =
      std::clamp(static_cast<double>(step - begin) / static_cast<double>(length), 0.0, 1.0);
  const ScheduleShape shape = schedule.shape == kWsd ? schedule.decay_shape : schedule.shape;
  return low + (peak - low) * decay(shape, done);
}

}  // namespace orthant
