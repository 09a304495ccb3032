// SPDX-License-Identifier: Apache-2.0
// Columns times a factor each, and the gradient by the factors: sums over rows in blocks of 64.
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

constexpr int64_t kBlockRows = 64;  // rows per partial sum of dfactor

int scale_columns(const BackendCall* call, const ScaleColumnsArgs* args) {
  return with_dtype(call, "scale_columns", args->x.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<M> x = rows_of<M>(args->x), y = rows_of<M>(args->y);
    const T* factor = static_cast<const T*>(args->factor.data);
    for_rows(x.rows, x.cols, [&](int64_t r) {
      for_each_vec<T>(x.cols, [&](int64_t i, int64_t count) {
        store(y[r] + i, load(x[r] + i, count) * load(factor + i, count), count);
      });
    });
    return 0;
  });
}

int scale_columns_grad(const BackendCall* call, const ScaleColumnsGradArgs* args) {
  return with_dtype(call, "scale_columns_grad", args->x.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<M> x = rows_of<M>(args->x), dy = rows_of<M>(args->dy), dx = rows_of<M>(args->dx);
    const T* factor = static_cast<const T*>(args->factor.data);
    T* dfactor = static_cast<T*>(args->dfactor.data);
    const int64_t cols = x.cols, num_blocks = (x.rows + kBlockRows - 1) / kBlockRows;
    T* partials = static_cast<T*>(
        scratch(Scratch::kShared, num_blocks * cols * static_cast<int64_t>(sizeof(T))));
    if (num_blocks * cols > 0 && !partials)
      return fail(call, "scale_columns_grad", "out of memory");
    parallel_for(num_blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        T* partial = partials + block * cols;
        for (int64_t i = 0; i < cols; ++i) partial[i] = 0;
        const int64_t last = min_of(x.rows, (block + 1) * kBlockRows);
        for (int64_t r = block * kBlockRows; r < last; ++r)
          for_each_vec<T>(cols, [&](int64_t i, int64_t count) {
            const Vec<T> d = load(dy[r] + i, count);
            store(partial + i, load(partial + i, count) + d * load(x[r] + i, count), count);
            store(dx[r] + i, d * load(factor + i, count), count);
          });
      }
    });
    parallel_for(cols, max_of(64, kElementsPerPiece / max_of(1, num_blocks)),
                 [&](int64_t begin, int64_t end) {
                   if (!args->accumulate)
                     for (int64_t i = begin; i < end; ++i) dfactor[i] = 0;
                   for (int64_t block = 0; block < num_blocks; ++block) {
                     const T* partial = partials + block * cols;
#pragma omp simd
                     for (int64_t i = begin; i < end; ++i) dfactor[i] += partial[i];
                   }
                 });
    return 0;
  });
}

}  // namespace

void fill_column_scale(Backend& table) {
  table.scale_columns = scale_columns;
  table.scale_columns_grad = scale_columns_grad;
}

}  // namespace orthant::cpu::ORTHANT_ISA
