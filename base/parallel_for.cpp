// SPDX-License-Identifier: Apache-2.0
#include "base/parallel_for.h"

#include <omp.h>

#include <algorithm>

#include "base/context.h"

namespace orthant {

void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  if (n <= 0) return;
  const int64_t pieces = (n + grain - 1) / grain;
  const int threads = static_cast<int>(std::min<int64_t>(context().num_threads, pieces));
  if (threads <= 1) {
    body(0, n);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    const int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
    const int64_t begin = pieces * thread / team * grain;
    const int64_t end = std::min(n, pieces * (thread + 1) / team * grain);
    if (begin < end) body(begin, end);
  }
}

void parallel_for_each(int64_t n, FunctionRef<void(int64_t)> body) {
  if (n <= 0) return;
  const int threads = static_cast<int>(std::min<int64_t>(context().num_threads, n));
  if (threads <= 1) {
    for (int64_t i = 0; i < n; ++i) body(i);
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t i = 0; i < n; ++i) body(i);
}

}  // namespace orthant
