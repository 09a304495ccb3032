// SPDX-License-Identifier: Apache-2.0
#include "parallel/parameter_optimizer.h"

#include <algorithm>

namespace orthant {

ParameterOptimizer::ParameterOptimizer(const OptimizerConfig& config,
                                       const GradientBuffers& gradients, const Group& model,
                                       std::shared_ptr<const TiedStages> tied)
    : config_(config), gradients_(gradients), norm_(gradients, model), tied_(std::move(tied)) {
  if (gradients.zero()) values_ = ValueBuckets::adopt(gradients.buckets());
  for (Parameter* parameter : gradients.parameters()) {
    const ElementRange range = gradients.owned(*parameter);
    if (parameter->is_mirror() || range.empty()) continue;
    const Tensor value = parameter->value().flat(range.begin, range.end);
    state_.push_back({parameter, range, make_span(config, value, parameter->decays())});
  }
}

std::vector<ParameterOptimizer::State::Piece> ParameterOptimizer::State::pieces() const {
  std::vector<Piece> pieces;
  for (const LogicalTensor& logical : parameter->logical()) {
    const ElementRange whole = {logical.offset, logical.offset + logical.shape.numel()};
    const ElementRange here = intersection(range, whole);
    if (here.empty()) continue;
    pieces.push_back({&logical, here.shifted(-logical.offset), here.shifted(-range.begin)});
  }
  return pieces;
}

const std::vector<ParameterOptimizer::State>& ParameterOptimizer::state() const {
  if (values_) values_->finish();
  return state_;
}

double ParameterOptimizer::gradient_norm(double grad_scale) const {
  return norm_.norm(gradients_, grad_scale);
}

void ParameterOptimizer::step(double learning_rate, double grad_scale, int64_t step) {
  if (values_) values_->finish();
  for (const State& state : state_) {
    optimizer_step(config_, state.span, gradients_.sum_of(*state.parameter),
                   learning_rate * state.parameter->rate(), grad_scale, step);
  }
  publish_values();
}

void ParameterOptimizer::initialize(uint64_t seed) {
  for (const State& state : state_)
    state.parameter->write_initial_values(seed, state.range.begin, state.span.master);
  values_from_masters();
}

void ParameterOptimizer::values_from_masters() {
  if (values_) values_->finish();
  for (const State& state : state_) {
    if (!state.span.master.shares_storage_with(state.span.value))
      copy(state.span.master, state.span.value);
  }
  publish_values();
}

void ParameterOptimizer::publish_values() {
  if (values_) values_->gather();
  for (Parameter* parameter : gradients_.parameters()) parameter->value_changed();
  if (tied_) tied_->share_value();
}

}  // namespace orthant
