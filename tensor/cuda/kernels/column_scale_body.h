// SPDX-License-Identifier: Apache-2.0
// Columns times a factor each, and the gradient.
#pragma once

#include "tensor/cuda/kernels/column_sums_body.h"

namespace orthant::cuda::kernels {

// y = x * factor, column by column.
template <class M>
struct ScaleColumns {
  Rows<const M> x;
  const Wide<M>* factor;
  Rows<M> y;
  ORTHANT_HD void operator()(int64_t i) const {
    narrow(widen(x.at(i)) * factor[i % x.cols], &y.at(i));
  }
};
// What a row adds to an element of dfactor.
template <class M>
struct ScaleColumnsTerm {
  Rows<const M> x, dy;
  ORTHANT_HD Wide<M> operator()(int64_t row, int64_t col) const {
    return widen(dy[row][col]) * widen(x[row][col]);
  }
};

template <class Exec>
int scale_columns(const BackendCall* call, const ScaleColumnsArgs* args) {
  Exec exec(call, "scale_columns");
  return with_dtype(exec, args->x.dtype, [&]<class M>(M) {
    const Rows<M> y = rows_of<M>(args->y);
    return exec.elements(y.numel(), ScaleColumns<M>{rows_of<const M>(args->x),
                                                    data_of<const Wide<M>>(args->factor), y});
  });
}
template <class Exec>
int scale_columns_grad(const BackendCall* call, const ScaleColumnsGradArgs* args) {
  Exec exec(call, "scale_columns_grad");
  return with_dtype(exec, args->x.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<const M> x = rows_of<const M>(args->x), dy = rows_of<const M>(args->dy);
    if (const int status = column_sums(exec, x.rows, x.cols, ScaleColumnsTerm<M>{x, dy},
                                       data_of<T>(args->dfactor), args->accumulate != 0))
      return status;
    const Rows<M> dx = rows_of<M>(args->dx);  // may be dy, which the sums have read
    return exec.elements(dx.numel(), ScaleColumns<M>{dy, data_of<const T>(args->factor), dx});
  });
}

}  // namespace orthant::cuda::kernels
