// SPDX-License-Identifier: Apache-2.0
#include "parallel/parameter_optimizer.h"

#include <algorithm>
#include <cmath>

#include "tensor/ops/elementwise.h"

namespace orthant {

ParameterOptimizer::ParameterOptimizer(ParameterStore& store, const OptimizerConfig& config)
    : config_(config) {
  for (const auto& parameter : store.all()) {
    if (parameter->tied_to() || !parameter->trainable()) continue;
    for (size_t i = 0; i < parameter->logical().size(); ++i) {
      by_name_.push_back({parameter->logical()[i].name, state_.size(), i});
    }
    state_.push_back({parameter.get(), make_span(config, parameter->value(), parameter->decays())});
  }
  std::sort(by_name_.begin(), by_name_.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
}

double ParameterOptimizer::gradient_norm(const GradientBuffers& gradients,
                                         double grad_scale) const {
  double total = 0;
  for (const Entry& entry : by_name_) {
    const Parameter& parameter = *state_[entry.state].parameter;
    const Tensor part =
        parameter.logical_part(gradients.sum_of(parameter), parameter.logical()[entry.logical]);
    double squares = 0;
    for (double block : ops::sum_squares(part).to_doubles()) squares += block;
    total += squares;
  }
  return std::sqrt(total) * grad_scale;
}

void ParameterOptimizer::step(const GradientBuffers& gradients, double learning_rate,
                              double grad_scale, int64_t step) {
  for (const State& state : state_) {
    optimizer_step(config_, state.span, gradients.sum_of(*state.parameter), learning_rate,
                   grad_scale, step);
    state.parameter->bump_version();
  }
}

void ParameterOptimizer::initialize(uint64_t seed) {
  for (const State& state : state_) state.parameter->write_initial_values(seed, state.span.master);
  values_from_masters();
}

void ParameterOptimizer::values_from_masters() {
  for (const State& state : state_) {
    if (!state.span.master.shares_storage_with(state.span.value))
      copy(state.span.master, state.span.value);
    state.parameter->bump_version();
  }
}

}  // namespace orthant
