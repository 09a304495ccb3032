// SPDX-License-Identifier: Apache-2.0
// Columns times a factor each, and the gradient by the factors.
#include "tensor/cpu/kernels/column_sums.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

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
    return column_sums<T>(
        call, "scale_columns_grad", x.rows, x.cols, static_cast<T*>(args->dfactor.data),
        args->accumulate != 0, [&](T* partial, int64_t r) {
          for_each_vec<T>(x.cols, [&](int64_t i, int64_t count) {
            const Vec<T> d = load(dy[r] + i, count);
            store(partial + i, load(partial + i, count) + d * load(x[r] + i, count), count);
            store(dx[r] + i, d * load(factor + i, count), count);
          });
        });
  });
}

}  // namespace

void fill_column_scale(Backend& table) {
  table.scale_columns = scale_columns;
  table.scale_columns_grad = scale_columns_grad;
}

}  // namespace orthant::cpu::ORTHANT_ISA
