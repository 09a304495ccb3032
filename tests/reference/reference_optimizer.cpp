// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/reference_optimizer.h"

#include <algorithm>
#include <cmath>

namespace orthant::testing {

double global_norm(const Matrices& gradients) {
  double squares = 0;
  for (const auto& [name, g] : gradients)
    for (double value : g.values) squares += value * value;
  return std::sqrt(squares);
}

double update(ReferenceOptimizer& o, Matrices& weights, const Matrices& gradients) {
  const double norm = global_norm(gradients);
  const double factor = o.clip > 0 ? std::min(1.0, o.clip / (norm + 1e-6)) : 1.0;
  const double t = static_cast<double>(++o.steps);
  for (auto& [name, w] : weights) {
    if (!gradients.contains(name)) continue;
    Matrix& m = o.m.try_emplace(name, w.rows, w.cols).first->second;
    Matrix& v = o.v.try_emplace(name, w.rows, w.cols).first->second;
    const double decay = w.is_vector ? 0.0 : o.weight_decay;
    for (size_t i = 0; i < w.values.size(); ++i) {
      const double g = gradients.at(name).values[i] * factor;
      double direction = g;
      if (o.adamw) {
        m.values[i] = o.beta1 * m.values[i] + (1.0 - o.beta1) * g;
        v.values[i] = o.beta2 * v.values[i] + (1.0 - o.beta2) * g * g;
        const double mean = m.values[i] / (1.0 - std::pow(o.beta1, t));
        const double square = v.values[i] / (1.0 - std::pow(o.beta2, t));
        direction = mean / (std::sqrt(square) + o.eps);
      }
      w.values[i] -= o.learning_rate * (direction + decay * w.values[i]);
    }
  }
  return norm;
}

}  // namespace orthant::testing
