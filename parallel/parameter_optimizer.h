// SPDX-License-Identifier: Apache-2.0
// The optimizer over a parameter store: global norm, clipping, update.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "optim/optimizer.h"
#include "parallel/gradient_buffers.h"

namespace orthant {

class ParameterOptimizer {
 public:
  // Takes masters from the parameters' present values.
  ParameterOptimizer(ParameterStore& store, const OptimizerConfig& config);

  // The norm of grad_scale * (summed gradients).  f64 sums over blocks of 4,096 elements of each
  // logical tensor, added in block order, then in the order of names: the same bits for every
  // layout that gives the same gradients.
  double gradient_norm(const GradientBuffers& gradients, double grad_scale) const;
  // step counts from 1.
  void step(const GradientBuffers& gradients, double learning_rate, double grad_scale,
            int64_t step);
  // Initial values drawn into the masters and rounded into the values: every precision starts from
  // the same numbers.
  void initialize(uint64_t seed);
  // After masters were loaded: writes the parameters' values from them.
  void values_from_masters();

  // State for checkpoints, by parameter in the order of the store.
  struct State {
    Parameter* parameter;
    OptimizerSpan span;
  };
  const std::vector<State>& state() const { return state_; }

 private:
  OptimizerConfig config_;
  std::vector<State> state_;
  // (logical name, state index, logical index), sorted by name.
  struct Entry {
    std::string name;
    size_t state, logical;
  };
  std::vector<Entry> by_name_;
};

}  // namespace orthant
