// SPDX-License-Identifier: Apache-2.0
// Sums over rows, column by column, in blocks of rows that are then added in order.
#pragma once

#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

inline constexpr int64_t kSumBlockRows = 64;

// Element (block, column) of the partial sums: term(row, column) of 64 rows, in order.
template <class T, class Term>
struct ColumnPartials {
  Term term;
  int64_t rows, cols;
  T* partials;
  ORTHANT_HD void operator()(int64_t i) const {
    const int64_t block = i / cols, col = i % cols;
    const int64_t last = min_of(rows, (block + 1) * kSumBlockRows);
    T sum = 0;
    for (int64_t r = block * kSumBlockRows; r < last; ++r) sum += term(r, col);
    partials[i] = sum;
  }
};
template <class T>
struct ColumnTotals {
  const T* partials;
  int64_t num_blocks, cols;
  T* sums;
  bool accumulate;
  ORTHANT_HD void operator()(int64_t col) const {
    T sum = accumulate ? sums[col] : T{0};
    for (int64_t block = 0; block < num_blocks; ++block) sum += partials[block * cols + col];
    sums[col] = sum;
  }
};

template <class T, class Exec, class Term>
int column_sums(Exec& exec, int64_t rows, int64_t cols, const Term& term, T* sums,
                bool accumulate) {
  const int64_t num_blocks = (rows + kSumBlockRows - 1) / kSumBlockRows;
  T* partials = static_cast<T*>(exec.scratch(num_blocks * cols * kBytes<T>));
  if (!partials) return 1;
  if (const int status =
          exec.elements(num_blocks * cols, ColumnPartials<T, Term>{term, rows, cols, partials}))
    return status;
  return exec.elements(cols, ColumnTotals<T>{partials, num_blocks, cols, sums, accumulate});
}

}  // namespace orthant::cuda::kernels
