// SPDX-License-Identifier: Apache-2.0
// AdamW and SGD on local spans of parameters.  Knows no ranks: who owns which span is parallel/'s
// business.
#pragma once

#include <vector>

#include "optim/config.h"
#include "tensor/tensor.h"

namespace orthant {

// One flat piece of a parameter with its state.  value in the model's dtype, the rest in
// wide_of(value); master is value itself where the dtypes are equal; m and v are undefined for SGD.
struct OptimizerSpan {
  Tensor value, master, m, v;
  bool decays = true;
};

// Allocates zero moments and, where value is narrower than its wide type, a master copy of it
// (category optimizer).
OptimizerSpan make_span(const OptimizerConfig& config, const Tensor& value, bool decays);

// One update; `step` counts from 1 (bias correction).  grad is a sum: it is multiplied by
// grad_scale first.  Updates in place.
void optimizer_step(const OptimizerConfig& config, const OptimizerSpan& span, const Tensor& grad,
                    double learning_rate, double grad_scale, int64_t step);

}  // namespace orthant
