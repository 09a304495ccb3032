// SPDX-License-Identifier: Apache-2.0
// The learning rate as a pure function of the step.
#pragma once

#include "optim/config.h"

namespace orthant {

// Of step 1, 2, ... (the first optimizer step is step 1).  Linear warm-up over warmup_steps, then
// by name; at and after total_steps the minimum (constant: always the peak).
double learning_rate_at(const ScheduleConfig& schedule, double peak, int64_t step);

}  // namespace orthant
