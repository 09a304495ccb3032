// SPDX-License-Identifier: Apache-2.0
// The learning rate as a pure function of the step.
#pragma once

#include "optim/config.h"

namespace orthant {

// Of step 1, 2, ... (the first optimizer step is step 1).  Linear warm-up over warmup_steps, then
// by name; cosine, linear and wsd are at the minimum from total_steps on, however long the warm-up:
//   cosine, linear   down to the minimum
//   constant         the peak
//   wsd              the peak, then by decay_shape over the last decay_fraction of total_steps
//                    down to the minimum (Hu et al., "MiniCPM", 2024; 1-sqrt: Haegele et al., 2024)
//   step             multiplied by step_factor after each of step_points, never below the minimum
double learning_rate_at(const ScheduleConfig& schedule, double peak, int64_t step);

}  // namespace orthant
