// SPDX-License-Identifier: Apache-2.0
// How many samples (sequences) a step takes: always the same, or growing over a ramp.
//
// On a ramp the first step has `start` samples; the size grows by `increment` each time another
// equal part of `ramp_samples` was consumed, one part per increment, until it is `global`
// (DeepSeek-V2 grows from 2,304 to 9,216 over its first 225B tokens).  All is a pure function of
// the step and of where counting begins: a run that goes on with other sizes counts from the
// samples that it had consumed.
#pragma once

#include <cstdint>

namespace orthant {

struct BatchSizes {
  int64_t global = 0;
  int64_t start = 0, increment = 0, ramp_samples = 0;  // ramp_samples 0: no ramp
  int64_t steps_before = 0, samples_before = 0;        // where counting begins

  // Of the step that begins after `samples` samples of the run.
  int64_t size_after(int64_t samples) const;
  // Samples of the run's first `steps` steps, which are no fewer than steps_before.
  int64_t samples_after(int64_t steps) const;
  // Of step 1, 2, ...
  int64_t size_of_step(int64_t step) const { return samples_after(step) - samples_after(step - 1); }
  // Steps before the first one of size `global`.
  int64_t ramp_steps() const;

 private:
  struct Position {
    int64_t steps = 0, samples = 0;
  };
  // Goes over the ramp, one size after the other, until `max_steps` steps or its end.
  Position walk(int64_t max_steps) const;
};

}  // namespace orthant
