// SPDX-License-Identifier: Apache-2.0
// Monotonic seconds, for durations and deadlines.
#pragma once

#include <chrono>

namespace orthant {

inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace orthant
