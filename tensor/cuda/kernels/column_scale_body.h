// SPDX-License-Identifier: Apache-2.0
// Columns times a factor each, and the gradient.
#pragma once

#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

inline constexpr int64_t kScaleBlockRows = 64;  // rows per partial sum of dfactor

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
// Element (block, column) of the partial sums: 64 rows of dy * x, in order.
template <class M>
struct ScaleColumnsPartial {
  using T = Wide<M>;
  Rows<const M> x, dy;
  T* partials;
  ORTHANT_HD void operator()(int64_t i) const {
    const int64_t block = i / x.cols, col = i % x.cols;
    const int64_t last = min_of(x.rows, (block + 1) * kScaleBlockRows);
    T sum = 0;
    for (int64_t r = block * kScaleBlockRows; r < last; ++r)
      sum += widen(dy[r][col]) * widen(x[r][col]);
    partials[i] = sum;
  }
};
template <class T>
struct ScaleColumnsSum {
  const T* partials;
  int64_t num_blocks, cols;
  T* dfactor;
  bool accumulate;
  ORTHANT_HD void operator()(int64_t col) const {
    T sum = accumulate ? dfactor[col] : T{0};
    for (int64_t block = 0; block < num_blocks; ++block) sum += partials[block * cols + col];
    dfactor[col] = sum;
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
    const int64_t num_blocks = (x.rows + kScaleBlockRows - 1) / kScaleBlockRows;
    T* partials = static_cast<T*>(exec.scratch(num_blocks * x.cols * kBytes<T>));
    if (!partials) return 1;
    if (const int status =
            exec.elements(num_blocks * x.cols, ScaleColumnsPartial<M>{x, dy, partials}))
      return status;
    if (const int status = exec.elements(
            x.cols, ScaleColumnsSum<T>{partials, num_blocks, x.cols, data_of<T>(args->dfactor),
                                       args->accumulate != 0}))
      return status;
    const Rows<M> dx = rows_of<M>(args->dx);  // may be dy, which the sums have read
    return exec.elements(dx.numel(), ScaleColumns<M>{dy, data_of<const T>(args->factor), dx});
  });
}

}  // namespace orthant::cuda::kernels
