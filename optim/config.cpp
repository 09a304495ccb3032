// SPDX-License-Identifier: Apache-2.0
#include "optim/config.h"

#include <algorithm>
#include <functional>

#include "base/error.h"

namespace orthant {

void OptimizerConfig::fields(FieldVisitor& v) {
  v.field("name", kind, {{OptimizerKind::kAdamW, "adamw"}, {OptimizerKind::kSgd, "sgd"}},
          "adamw, or plain sgd (meant for proofs)");
  v.field("learning_rate", learning_rate, non_negative(), "peak learning rate");
  v.field("betas", betas, below_one(), "decay of AdamW's first and second moments");
  v.field("eps", eps, positive(), "AdamW's epsilon");
  v.field("weight_decay", weight_decay, non_negative(),
          "decoupled weight decay; not applied to 1-D tensors");
  v.field("grad_clip", grad_clip, non_negative(), "largest global gradient norm; 0 = no clipping");
  v.alias("lr", "learning_rate");
  v.alias("max_grad_norm", "grad_clip");
  v.alias("clip_grad", "grad_clip");
  v.alias("wd", "weight_decay");
}

void ScheduleConfig::fields(FieldVisitor& v) {
  using enum ScheduleShape;
  v.field("name", shape,
          {{kCosine, "cosine"},
           {kLinear, "linear"},
           {kConstant, "constant"},
           {kWsd, "wsd"},
           {kStep, "step"}},
          "shape of the learning rate after warm-up; wsd: stable, then a decay at the end; step: "
          "multiplied at some points");
  v.field("warmup_steps", warmup_steps, at_least(0), "steps of linear warm-up from 0");
  v.field("total_steps", total_steps, at_least(0),
          "where the schedule ends; 0 = run.max_steps of the run's first start");
  v.field("min_learning_rate", min_learning_rate, non_negative(),
          "learning rate at and after the end of cosine, linear and wsd; step: never below");
  v.field("decay_fraction", decay_fraction, RealBounds{.low = 0.0, .high = 1.0, .low_open = true},
          "wsd: share of total_steps, at their end, over which the learning rate decays");
  v.field("decay_shape", decay_shape,
          {{kLinear, "linear"}, {kCosine, "cosine"}, {kOneMinusSqrt, "1-sqrt"}},
          "wsd: how it decays");
  v.field("step_points", step_points,
          RealBounds{.low = 0.0, .high = 1.0, .low_open = true, .high_open = true},
          "step: shares of total_steps after which the learning rate is multiplied, ascending");
  v.field("step_factor", step_factor, RealBounds{.low = 0.0, .high = 1.0, .low_open = true},
          "step: by what it is multiplied at each point");
  v.alias("lr_warmup_iters", "warmup_steps");
  v.alias("min_lr", "min_learning_rate");
}

void ScheduleConfig::validate() const {
  const bool ascending = std::adjacent_find(step_points.begin(), step_points.end(),
                                            std::greater_equal<>()) == step_points.end();
  ORTHANT_CHECK(ascending, kConfig, "schedule.step_points: want ascending shares of total_steps");
}

}  // namespace orthant
