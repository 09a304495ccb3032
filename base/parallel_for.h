// SPDX-License-Identifier: Apache-2.0
// Runs a loop on the threads of the calling rank.
#pragma once

#include <cstdint>

#include "base/function_ref.h"

namespace orthant {

// Calls body(begin, end) on disjoint ranges that cover [0, n), on at most context().num_threads
// threads; ranges other than the last start and end at multiples of `grain`.  Which thread gets
// what is not part of the contract: a result must never depend on it.  With one thread, or n <=
// grain, the body runs on the calling thread.  Must not be nested. The body must not throw.
void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body);

// The same, for pieces of unequal cost: threads take the next index when they are done with one.
void parallel_for_each(int64_t n, FunctionRef<void(int64_t index)> body);

}  // namespace orthant
