// SPDX-License-Identifier: Apache-2.0
#include "optim/config.h"

namespace orthant {

void OptimizerConfig::fields(FieldVisitor& v) {
  v.field("name", name, one_of({"adamw", "sgd"}), "adamw, or plain sgd (meant for proofs)");
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
  v.field("name", name, one_of({"cosine", "linear", "constant"}),
          "shape of the learning rate after warm-up");
  v.field("warmup_steps", warmup_steps, at_least(0), "steps of linear warm-up from 0");
  v.field("total_steps", total_steps, at_least(0),
          "where the schedule ends; 0 = run.max_steps of the run's first start");
  v.field("min_learning_rate", min_learning_rate, non_negative(),
          "learning rate at and after the end");
  v.alias("lr_warmup_iters", "warmup_steps");
  v.alias("min_lr", "min_learning_rate");
}

}  // namespace orthant
