// SPDX-License-Identifier: Apache-2.0
// The optimizer over a parameter store: global norm, clipping, update.
//
// With ZeRO a rank has state for its own slices only (GradientBuffers::owned) and updates the
// values there; then the ranks gather each other's values, bucket by bucket, while step() returns:
// whoever reads a parameter first waits for its bucket (parallel/value_buckets.h).
#pragma once

#include <memory>
#include <vector>

#include "optim/optimizer.h"
#include "parallel/gradient_buffers.h"
#include "parallel/gradient_norm.h"
#include "parallel/tied_stages.h"
#include "parallel/value_buckets.h"

namespace orthant {

class ParameterOptimizer {
 public:
  // Takes masters from the parameters' present values.  `gradients` says who owns what and must
  // outlive this.  tied: of a weight that two stages share; may be null.  model: ranks that hold
  // all of the model together.  Collective over it.
  ParameterOptimizer(const OptimizerConfig& config, const GradientBuffers& gradients,
                     const Group& model, std::shared_ptr<const TiedStages> tied = nullptr);

  // The norm of grad_scale * (summed gradients), see parallel/gradient_norm.h.  Collective.
  double gradient_norm(double grad_scale) const;
  // step counts from 1.  Collective with ZeRO.
  void step(double learning_rate, double grad_scale, int64_t step);
  // Initial values drawn into the masters and rounded into the values: every precision starts from
  // the same numbers.  Collective with ZeRO.
  void initialize(uint64_t seed);
  // After masters were loaded: writes the parameters' values from them.  Collective with ZeRO.
  void values_from_masters();

  // State for checkpoints, by parameter in the order of the store: of the elements `range` of its
  // storage, flat.  Parameters of which this rank owns nothing are left out.  Masters may be the
  // values themselves, so this waits for values on their way; whoever writes masters calls
  // values_from_masters() next.
  struct State {
    Parameter* parameter;
    ElementRange range;
    OptimizerSpan span;

    // What of a logical tensor is in it: elements of the tensor's rectangle, and where they stand
    // in the span.
    struct Piece {
      const LogicalTensor* logical;
      ElementRange elements, in_span;
    };
    std::vector<Piece> pieces() const;
  };
  const std::vector<State>& state() const;

 private:
  void publish_values();

  OptimizerConfig config_;
  const GradientBuffers& gradients_;
  GradientNorm norm_;
  std::shared_ptr<ValueBuckets> values_;  // null without ZeRO
  std::vector<State> state_;
  std::shared_ptr<const TiedStages> tied_;
};

}  // namespace orthant
