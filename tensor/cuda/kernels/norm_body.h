// SPDX-License-Identifier: Apache-2.0
// RMS norm: y = x * rstd * weight, rstd = 1 / sqrt(mean(x^2) + eps), and its gradient.
// Source: Zhang and Sennrich, "Root mean square layer normalization", arXiv:1910.07467.
#pragma once

#include "tensor/cuda/kernels/column_sums_body.h"

namespace orthant::cuda::kernels {

template <class M>
struct RmsNorm {
  using T = Wide<M>;
  Rows<const M> x;
  const T* weight;
  Rows<M> y;
  T* rstd;
  T eps;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t row, void*) const {
    const M* in = x[row];
    M* out = y[row];
    const T squares =
        team.template sum<T>(x.cols, [&](int64_t i) { return widen(in[i]) * widen(in[i]); });
    const T scale = T{1} / sqrt_of(squares / static_cast<T>(x.cols) + eps);
    team.each(x.cols, [&](int64_t i) { narrow(widen(in[i]) * scale * weight[i], out + i); });
    if (rstd) team.once([&] { rstd[row] = scale; });
  }
};

// dx = rstd * (w dy - x * rstd^2 * mean(x w dy))
template <class M>
struct RmsNormDx {
  using T = Wide<M>;
  Rows<const M> x;
  const T* weight;
  const T* rstd;
  Rows<const M> dy;
  Rows<M> dx;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t row, void*) const {
    const M* in = x[row];
    const M* d = dy[row];
    M* out = dx[row];
    const T dot = team.template sum<T>(
        x.cols, [&](int64_t i) { return widen(in[i]) * weight[i] * widen(d[i]); });
    const T scale = rstd[row], slope = dot / static_cast<T>(x.cols) * scale * scale;
    team.each(x.cols, [&](int64_t i) {
      narrow((weight[i] * widen(d[i]) - widen(in[i]) * slope) * scale, out + i);
    });
  }
};

// What a row adds to an element of dweight.
template <class M>
struct RmsNormTerm {
  Rows<const M> x, dy;
  const Wide<M>* rstd;
  ORTHANT_HD Wide<M> operator()(int64_t row, int64_t col) const {
    return widen(dy[row][col]) * (widen(x[row][col]) * rstd[row]);
  }
};

template <class Exec>
int rms_norm(const BackendCall* call, const RmsNormArgs* args) {
  Exec exec(call, "rms_norm");
  return with_dtype(exec, args->x.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<const M> x = rows_of<const M>(args->x);
    return exec.rows(x.rows, RmsNorm<M>{x, data_of<const T>(args->weight), rows_of<M>(args->y),
                                        data_of<T>(args->rstd), static_cast<T>(args->eps)});
  });
}
template <class Exec>
int rms_norm_grad(const BackendCall* call, const RmsNormGradArgs* args) {
  Exec exec(call, "rms_norm_grad");
  return with_dtype(exec, args->x.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<const M> x = rows_of<const M>(args->x), dy = rows_of<const M>(args->dy);
    const T* rstd = data_of<const T>(args->rstd);
    const RmsNormDx<M> body{x, data_of<const T>(args->weight), rstd, dy, rows_of<M>(args->dx)};
    if (const int status = exec.rows(x.rows, body)) return status;
    if (!args->dweight.data) return 0;
    return column_sums(exec, x.rows, x.cols, RmsNormTerm<M>{x, dy, rstd}, data_of<T>(args->dweight),
                       args->accumulate != 0);
  });
}

}  // namespace orthant::cuda::kernels
