// SPDX-License-Identifier: Apache-2.0
// What a user says about optimizer and learning rate.
#pragma once

#include <vector>

#include "base/config/fields.h"

namespace orthant {

enum class OptimizerKind { kAdamW, kSgd };
// 1 - sqrt(x), cosine and linear also say how wsd decays.
enum class ScheduleShape { kCosine, kLinear, kConstant, kWsd, kStep, kOneMinusSqrt };

struct OptimizerConfig {
  OptimizerKind kind = OptimizerKind::kAdamW;
  double learning_rate = 3e-4;
  std::vector<double> betas = {0.9, 0.95};
  double eps = 1e-8;
  double weight_decay = 0.1;
  double grad_clip = 1.0;
  void fields(FieldVisitor& v);
};

struct ScheduleConfig {
  ScheduleShape shape = ScheduleShape::kCosine;
  int64_t warmup_steps = 0;
  int64_t total_steps = 0;
  double min_learning_rate = 0.0;
  double decay_fraction = 0.1;                         // wsd: share of total_steps
  ScheduleShape decay_shape = ScheduleShape::kLinear;  // wsd
  std::vector<double> step_points = {0.6, 0.9};        // step: shares of total_steps
  double step_factor = 0.316;                          // step
  void fields(FieldVisitor& v);
  // Relations that a field list cannot state.
  void validate() const;
};

}  // namespace orthant
