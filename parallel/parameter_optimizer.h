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
  // Takes masters from the parameters' present values.  experts: the ranks that hold each expert
  // once, together; others' parameters are the same on all of them.  Collective over it.
  ParameterOptimizer(ParameterStore& store, const OptimizerConfig& config, const Group& experts);

  // The norm of grad_scale * (summed gradients).  f64 sums over blocks of 4,096 elements of each
  // logical tensor, added in block order, then in the order of names: the same bits for every
  // layout that gives the same gradients.  Collective over the experts' group.
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
  Group experts_;
  // Logical tensors of this rank, and where their sums of squares are added: positions in the order
  // of the names of all ranks' tensors.
  struct Entry {
    size_t state, logical;
    size_t position = 0;
  };
  std::vector<Entry> dense_, expert_;
  std::vector<size_t> gathered_positions_;  // of all ranks' expert entries, by rank
  size_t num_positions_ = 0;

  void order_by_name();
  double sum_squares(const GradientBuffers& gradients, const Entry& entry) const;
};

}  // namespace orthant
