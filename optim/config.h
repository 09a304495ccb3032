// SPDX-License-Identifier: Apache-2.0
// What a user says about optimizer and learning rate.
#pragma once

#include <string>
#include <vector>

#include "base/config/fields.h"

namespace orthant {

struct OptimizerConfig {
  std::string name = "adamw";
  double learning_rate = 3e-4;
  std::vector<double> betas = {0.9, 0.95};
  double eps = 1e-8;
  double weight_decay = 0.1;
  double grad_clip = 1.0;
  void fields(FieldVisitor& v);
};

struct ScheduleConfig {
  std::string name = "cosine";
  int64_t warmup_steps = 0;
  int64_t total_steps = 0;
  double min_learning_rate = 0.0;
  double decay_fraction = 0.1;                   // wsd: share of total_steps
  std::string decay_shape = "linear";            // wsd
  std::vector<double> step_points = {0.6, 0.9};  // step: shares of total_steps
  double step_factor = 0.316;                    // step
  bool follows_max_steps = false;  // total_steps was not given (no key: set when a run is resolved)
  void fields(FieldVisitor& v);
  // Relations that a field list cannot state.
  void validate() const;
};

}  // namespace orthant
