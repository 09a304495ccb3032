// SPDX-License-Identifier: Apache-2.0
// What a step of training leaves behind.
#pragma once

#include <functional>

#include "trainer/engine.h"
#include "trainer/run/metrics.h"
#include "trainer/run/session.h"
#include "trainer/run_config.h"

namespace orthant {

// What the steps of a run are counted with.
struct RunMeasures {
  const RunConfig& config;
  const BatchSizes& sizes;  // where the run's samples are counted from
  std::function<double(int64_t samples)> epochs_at;
  double peak_flops = 0;       // of all ranks
  double trained_share = 1.0;  // of the model's parameters: the others need no gradients
};
StepMetrics metrics_of(const RunMeasures& run, int64_t step, const StepResult& result,
                       double seconds);

// Skips are told, and end a run that makes no step any more.
class SkipWatch {
 public:
  // Error(kNumeric) after too many in a row.
  void see(int64_t step, const StepResult& result, const RunSession& session);
  // A single bad step leaves the weights as they were; more in a row say that the weights are
  // spoilt, and those are not worth keeping over the ones before.
  bool weights_are_good() const { return in_a_row_ < 2; }

 private:
  int64_t in_a_row_ = 0;
};

}  // namespace orthant
