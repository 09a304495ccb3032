// SPDX-License-Identifier: Apache-2.0
#include "parallel/parameter_optimizer.h"

#include <cmath>
#include <map>

#include "tensor/ops/elementwise.h"

namespace orthant {

ParameterOptimizer::ParameterOptimizer(ParameterStore& store, const OptimizerConfig& config,
                                       const Group& experts)
    : config_(config), experts_(experts) {
  for (const auto& parameter : store.all()) {
    if (parameter->tied_to() || !parameter->trainable()) continue;
    for (size_t i = 0; i < parameter->logical().size(); ++i)
      (parameter->is_expert() ? expert_ : dense_).push_back({state_.size(), i});
    state_.push_back({parameter.get(), make_span(config, parameter->value(), parameter->decays())});
  }
  order_by_name();
}

// All ranks agree on one order of all names.
void ParameterOptimizer::order_by_name() {
  const auto name_of = [&](const Entry& entry) {
    return state_[entry.state].parameter->logical()[entry.logical].name;
  };
  std::string own;
  for (const Entry& entry : expert_) own += name_of(entry) + "\n";
  std::vector<std::string> gathered;
  for (const std::string& text : experts_.gather_text(own)) {
    for (size_t at = 0; at < text.size(); at = text.find('\n', at) + 1)
      gathered.push_back(text.substr(at, text.find('\n', at) - at));
  }
  std::map<std::string, size_t> positions;
  for (const std::string& name : gathered) positions[name] = 0;
  for (const Entry& entry : dense_) positions[name_of(entry)] = 0;
  for (auto& [name, position] : positions) position = num_positions_++;
  for (Entry& entry : dense_) entry.position = positions.at(name_of(entry));
  for (const std::string& name : gathered) gathered_positions_.push_back(positions.at(name));
}

double ParameterOptimizer::sum_squares(const GradientBuffers& gradients, const Entry& entry) const {
  const Parameter& parameter = *state_[entry.state].parameter;
  const Tensor part =
      parameter.logical_part(gradients.sum_of(parameter), parameter.logical()[entry.logical]);
  double squares = 0;
  for (double block : ops::sum_squares(part).to_doubles()) squares += block;
  return squares;
}

double ParameterOptimizer::gradient_norm(const GradientBuffers& gradients,
                                         double grad_scale) const {
  std::vector<double> sums(num_positions_, 0.0), own;
  for (const Entry& entry : dense_) sums[entry.position] = sum_squares(gradients, entry);
  for (const Entry& entry : expert_) own.push_back(sum_squares(gradients, entry));
  const auto count = static_cast<int64_t>(own.size());
  const Tensor all = Tensor::empty({count * experts_.size()}, DType::kF64);
  experts_.all_gather(Tensor::from({count}, own, DType::kF64), all).wait();
  // Expert-tensor ranks hold parts of the same tensor: added in the order of ranks.
  for (int64_t i = 0; i < all.numel(); ++i)
    sums[gathered_positions_[static_cast<size_t>(i)]] += all.as<double>()[i];
  double total = 0;
  for (const double squares : sums) total += squares;
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
