// SPDX-License-Identifier: Apache-2.0
// Views as typed rows, choice of the element type, and the two parallel loops that most kernels
// are.
#pragma once

#include <cstdint>

#include "base/parallel_for.h"
#include "tensor/backend.h"
#include "tensor/cpu/kernels/simd.h"

namespace orthant::cpu::ORTHANT_ISA {

inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

// A view as rows of T.  A missing optional view has data == nullptr.
template <class T>
struct Rows {
  T* data;
  int64_t rows, cols, stride;
  T* operator[](int64_t row) const { return data + row * stride; }
  bool is_flat() const { return rows <= 1 || stride == cols; }
};
template <class T>
inline Rows<T> rows_of(const View& view) {
  Rows<T> result{static_cast<T*>(view.data), 1, 1, view.row_stride};
  for (int i = 0; i + 1 < view.rank; ++i) result.rows *= view.shape[i];
  if (view.rank > 0) result.cols = view.shape[view.rank - 1];
  return result;
}

// Writes "op: what" into call->error and returns 1.
int fail(const BackendCall* call, const char* op, const char* what);
int fail_dtype(const BackendCall* call, const char* op, DType dtype);

// Calls f with a value of the type of M: f64, f32 or bf16.
template <class F>
inline int with_dtype(const BackendCall* call, const char* op, DType dtype, F f) {
  switch (dtype) {
    case DType::kF64:
      return f(double{});
    case DType::kF32:
      return f(float{});
    case DType::kBF16:
      return f(bf16{});
    default:
      return fail_dtype(call, op, dtype);
  }
}

inline constexpr int64_t kElementsPerPiece = 16384;  // below this a second thread does not pay

// body(row) for every row, in pieces of at least kElementsPerPiece elements.
template <class F>
inline void for_rows(int64_t rows, int64_t cols, F body) {
  const int64_t grain = max_of(1, kElementsPerPiece / max_of(1, cols));
  parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}
// body(row, begin, end) over elements; all elements count as row 0 when every view is flat.
template <class F>
inline void for_elements(int64_t rows, int64_t cols, bool flat, F body) {
  if (flat) {
    parallel_for(rows * cols, kElementsPerPiece,
                 [&](int64_t begin, int64_t end) { body(int64_t{0}, begin, end); });
  } else {
    for_rows(rows, cols, [&](int64_t row) { body(row, int64_t{0}, cols); });
  }
}

}  // namespace orthant::cpu::ORTHANT_ISA
