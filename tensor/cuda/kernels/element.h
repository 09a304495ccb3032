// SPDX-License-Identifier: Apache-2.0
// What the bodies of all kernels share, on device and host: element types and what they are
// computed in, views as typed rows, choice of the element type, errors.
//
// How the kernels are built.  An op is a function template over an executor: it checks its
// arguments and hands bodies to exec.elements(n, body), where body(i) does one element, or to
// exec.rows(n, body, scratch_bytes), where body(team, row, scratch) does one row with a team of 32
// lanes. device.cuh has the executor that launches kernels, the tests one that loops on the host:
// the same bodies run in both. Rules of a body: (T1) Lanes meet in team.each(n, f), team.sum<T>(n,
// f), team.max<T>(n, f), team.first(n, f) and
//      team.once(f); code between them is the same for all lanes and writes to no memory.
// (T2) In one such phase no f(i) reads what another f(j) writes.  Phases end with a barrier.
// (T3) Every sum is made in a fixed order: results do not change from run to run.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "base/philox.h"
#include "tensor/backend.h"
#include "tensor/cuda/dtypes.h"

namespace orthant::cuda::kernels {

template <class M>
struct WideOf {
  using type = float;
};
template <>
struct WideOf<double> {
  using type = double;
};
// What elements of type M are computed in.
template <class M>
using Wide = typename WideOf<M>::type;

ORTHANT_HD inline double widen(double x) { return x; }
ORTHANT_HD inline float widen(float x) { return x; }
ORTHANT_HD inline float widen(bf16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}
// Rounds to nearest, ties to even; NaN stays NaN.
ORTHANT_HD inline void narrow(double x, double* y) { *y = x; }
ORTHANT_HD inline void narrow(double x, float* y) { *y = static_cast<float>(x); }
ORTHANT_HD inline void narrow(float x, double* y) { *y = x; }
ORTHANT_HD inline void narrow(float x, float* y) { *y = x; }
ORTHANT_HD inline void narrow(float x, bf16* y) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
  y->bits = static_cast<uint16_t>((u & 0x7FFFFFFFu) > 0x7F800000u ? ((u >> 16) | 0x40u) : rounded);
}
ORTHANT_HD inline void narrow(double x, bf16* y) { narrow(static_cast<float>(x), y); }

ORTHANT_HD inline double exp_of(double x) { return ::exp(x); }
ORTHANT_HD inline float exp_of(float x) { return ::expf(x); }
ORTHANT_HD inline double log_of(double x) { return ::log(x); }
ORTHANT_HD inline float log_of(float x) { return ::logf(x); }
ORTHANT_HD inline double sqrt_of(double x) { return ::sqrt(x); }
ORTHANT_HD inline float sqrt_of(float x) { return ::sqrtf(x); }

inline constexpr double kInfinity = __builtin_inf();

ORTHANT_HD inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
ORTHANT_HD inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

// A view as rows of T.  A missing optional view has data == nullptr.
template <class T>
struct Rows {
  T* data;
  int64_t rows, cols, stride;
  ORTHANT_HD T* operator[](int64_t row) const { return data + row * stride; }
  // Element i of rows * cols in row-major order.
  ORTHANT_HD T& at(int64_t i) const {
    return stride == cols || rows == 1 ? data[i] : data[i / cols * stride + i % cols];
  }
  int64_t numel() const { return rows * cols; }
};
template <class T>
inline Rows<T> rows_of(const View& view) {
  Rows<T> result{static_cast<T*>(view.data), 1, 1, view.row_stride};
  for (int i = 0; i + 1 < view.rank; ++i) result.rows *= view.shape[i];
  if (view.rank > 0) result.cols = view.shape[view.rank - 1];
  return result;
}
// A view of one dimension without gaps.
template <class T>
inline T* data_of(const View& view) {
  return static_cast<T*>(view.data);
}

template <class T>
inline constexpr int64_t kBytes = static_cast<int64_t>(sizeof(T));

template <class Exec>
int fail_dtype(Exec& exec, DType dtype) {
  return exec.fail(refusal_of(dtype).c_str());
}

// Calls f with a value of the type of M: f64, f32 or bf16.
template <class Exec, class F>
int with_dtype(Exec& exec, DType dtype, F f) {
  switch (dtype) {
    case DType::kF64:
      return f(double{});
    case DType::kF32:
      return f(float{});
    case DType::kBF16:
      return f(bf16{});
    default:
      return fail_dtype(exec, dtype);
  }
}
// Calls f with a value of the type of W: f64 or f32.
template <class Exec, class F>
int with_wide_dtype(Exec& exec, DType dtype, F f) {
  if (dtype == DType::kF64) return f(double{});
  if (dtype == DType::kF32) return f(float{});
  return fail_dtype(exec, dtype);
}

// True for an id at or beyond `limit`.
struct IsTooLarge {
  Rows<const int32_t> ids;
  int64_t limit;
  ORTHANT_HD bool operator()(int64_t i) const { return ids.at(i) >= limit; }
};
// Fails with `what` when an id is too large.  Waits for the stream.
template <class Exec>
int check_ids(Exec& exec, Rows<const int32_t> ids, int64_t limit, const char* what) {
  bool found = false;
  if (const int status = exec.any(ids.numel(), IsTooLarge{ids, limit}, &found)) return status;
  return found ? exec.fail(what) : 0;
}
inline Rows<const int32_t> flat_ids(const View& view, int64_t count) {
  return {static_cast<const int32_t*>(view.data), 1, count, count};
}

}  // namespace orthant::cuda::kernels
