// SPDX-License-Identifier: Apache-2.0
// Sums over rows, column by column, in blocks of 64 rows that are then added in order: the same for
// any number of threads.
#pragma once

#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {

// add_row(partial, row) adds a row's part to partial [cols].  sums [cols] may be null: add_row
// alone is wanted, for what else it does.
template <class T, class F>
int column_sums(const BackendCall* call, const char* op, int64_t rows, int64_t cols, T* sums,
                bool accumulate, F&& add_row) {
  constexpr int64_t kBlockRows = 64;
  const int64_t num_blocks = (rows + kBlockRows - 1) / kBlockRows;
  T* partials = static_cast<T*>(
      scratch(Scratch::kShared, num_blocks * cols * static_cast<int64_t>(sizeof(T))));
  if (num_blocks * cols > 0 && !partials) return fail(call, op, "out of memory");
  parallel_for(num_blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      T* partial = partials + block * cols;
      for (int64_t i = 0; i < cols; ++i) partial[i] = 0;
      const int64_t last = min_of(rows, (block + 1) * kBlockRows);
      for (int64_t r = block * kBlockRows; r < last; ++r) add_row(partial, r);
    }
  });
  if (!sums) return 0;
  parallel_for(cols, max_of(64, kElementsPerPiece / max_of(1, num_blocks)),
               [&](int64_t begin, int64_t end) {
                 if (!accumulate)
                   for (int64_t i = begin; i < end; ++i) sums[i] = 0;
                 for (int64_t block = 0; block < num_blocks; ++block) {
                   const T* partial = partials + block * cols;
#pragma omp simd
                   for (int64_t i = begin; i < end; ++i) sums[i] += partial[i];
                 }
               });
  return 0;
}

}  // namespace orthant::cpu::ORTHANT_ISA
