// SPDX-License-Identifier: Apache-2.0
// Global norm, clipping, AdamW and SGD in plain double precision, beside reference_model.h.
#pragma once

#include "tests/reference/reference_model.h"

namespace orthant::testing {

struct ReferenceOptimizer {
  bool adamw = true;  // else plain SGD
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0.1;  // not of 1-D tensors
  double clip = 1.0;          // largest norm; 0 = none
  Matrices m, v;              // zero before the first step
  int64_t steps = 0;
};

double global_norm(const Matrices& gradients);
// One clipped update; returns the norm before clipping.
//   g = gradient * min(1, clip / (norm + 1e-6))
//   AdamW: m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2,
//          w -= lr * (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + decay * w)
//   SGD:   w -= lr * (g + decay * w)
double update(ReferenceOptimizer& optimizer, Matrices& weights, const Matrices& gradients);

}  // namespace orthant::testing
