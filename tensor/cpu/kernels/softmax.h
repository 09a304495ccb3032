// SPDX-License-Identifier: Apache-2.0
// The pieces of a softmax over one row.
#pragma once

#include <cstdint>

#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {

inline constexpr double kInfinity = __builtin_inf();

inline double log_of(double x) { return __builtin_log(x); }
inline float log_of(float x) { return __builtin_logf(x); }

template <class M>
[[gnu::flatten]] inline Wide<M> row_max(const M* x, int64_t n) {
  using T = Wide<M>;
  constexpr int64_t kL = kLanes<T>;
  const Vec<T> lowest = splat(static_cast<T>(-kInfinity));
  Vec<T> max0 = lowest, max1 = lowest, max2 = lowest, max3 = lowest;
  int64_t i = 0;
  for (; i + 4 * kL <= n; i += 4 * kL) {
    max0 = larger<T>(load(x + i), max0);
    max1 = larger<T>(load(x + i + kL), max1);
    max2 = larger<T>(load(x + i + 2 * kL), max2);
    max3 = larger<T>(load(x + i + 3 * kL), max3);
  }
  for (; i < n; i += kL) {
    const int64_t count = n - i < kL ? n - i : kL;
    max0 = larger<T>(first_lanes<T>(load(x + i, count), count, static_cast<T>(-kInfinity)), max0);
  }
  return max_lanes<T>(larger<T>(larger<T>(max0, max1), larger<T>(max2, max3)));
}

// Of a row's terms, those of 4,096 columns in the lanes before they join a sum in f64.
template <class T, class F>
[[gnu::flatten]] inline double sum_in_chunks(int64_t n, F term) {
  constexpr int64_t kChunk = 4096;
  double sum = 0;
  for (int64_t begin = 0; begin < n; begin += kChunk) {
    sum += sum_of<T>(min_of(kChunk, n - begin),
                     [&](int64_t i, int64_t count) { return term(begin + i, count); });
  }
  return sum;
}

template <class T>
[[gnu::flatten]] inline double sum_exp(const T* x, int64_t n, T max) {
  return sum_in_chunks<T>(n, [&](int64_t i, int64_t count) {
    return first_lanes<T>(exp_of(load(x + i, count) - max), count, T{0});
  });
}

// y = softmax(x); returns logsumexp(x).  y may be x.
template <class M, class Y>
[[gnu::flatten]] inline Wide<M> softmax_row(const M* x, Y* y, int64_t n) {
  using T = Wide<M>;
  const T max = row_max(x, n);
  const T sum = sum_of<T>(n, [&](int64_t i, int64_t count) {
    return first_lanes<T>(exp_of(load(x + i, count) - max), count, T{0});
  });
  const T factor = T{1} / sum;
  for_each_vec<T>(n, [&](int64_t i, int64_t count) {
    store(y + i, exp_of(load(x + i, count) - max) * factor, count);
  });
  return max + log_of(sum);
}

}  // namespace orthant::cpu::ORTHANT_ISA
