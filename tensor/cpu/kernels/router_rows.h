// SPDX-License-Identifier: Apache-2.0
// What the router and its gradient share.
#pragma once

#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {

inline constexpr int64_t kMaxExperts = 4096;

// The sum of the chosen scores, in slot order.
template <class T>
inline T chosen_sum(const T* scores, const int32_t* ids, int64_t slots) {
  T sum = static_cast<T>(kScoreEpsilon);
  for (int64_t a = 0; a < slots; ++a)
    if (ids[a] >= 0) sum += scores[ids[a]];
  return sum;
}

}  // namespace orthant::cpu::ORTHANT_ISA
