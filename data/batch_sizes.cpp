// SPDX-License-Identifier: Apache-2.0
#include "data/batch_sizes.h"

#include <algorithm>
#include <limits>

namespace orthant {

int64_t BatchSizes::size_after(int64_t samples) const {
  if (samples >= ramp_samples) return global;
  const int64_t parts = (global - start) / increment;
  return start + samples * parts / ramp_samples * increment;
}

BatchSizes::Position BatchSizes::walk(int64_t max_steps) const {
  Position at{steps_before, samples_before};
  while (at.samples < ramp_samples && at.steps < max_steps) {
    const int64_t size = size_after(at.samples), parts = (global - start) / increment;
    // The first sample with a larger size: part / parts of the ramp, rounded up.
    const int64_t part = (size - start) / increment + 1;
    const int64_t bound = (part * ramp_samples + parts - 1) / parts;
    const int64_t steps = std::min((bound - at.samples + size - 1) / size, max_steps - at.steps);
    at.steps += steps;
    at.samples += steps * size;
  }
  return at;
}

int64_t BatchSizes::samples_after(int64_t steps) const {
  const Position at = walk(steps);
  return at.samples + (steps - at.steps) * global;
}

int64_t BatchSizes::ramp_steps() const { return walk(std::numeric_limits<int64_t>::max()).steps; }

}  // namespace orthant
