// SPDX-License-Identifier: Apache-2.0
// RMS norm: y = x * rstd * weight, rstd = 1 / sqrt(mean(x^2) + eps).
// Source: Zhang and Sennrich, "Root mean square layer normalization", arXiv:1910.07467.
#include "tensor/cpu/kernels/column_sums.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

inline double sqrt_of(double x) { return __builtin_sqrt(x); }
inline float sqrt_of(float x) { return __builtin_sqrtf(x); }

template <class M, class T>
[[gnu::flatten]] T norm_row(const M* x, const T* weight, M* y, int64_t n, T eps) {
  const T squares = sum_of<T>(n, [&](int64_t i, int64_t count) {
    const Vec<T> v = load(x + i, count);
    return v * v;
  });
  const T rstd = T{1} / sqrt_of(squares / static_cast<T>(n) + eps);
  for_each_vec<T>(n, [&](int64_t i, int64_t count) {
    store(y + i, load(x + i, count) * rstd * load(weight + i, count), count);
  });
  return rstd;
}

// dx = rstd * (w dy) - x * rstd^3 * mean(x w dy); partial += dy * x * rstd.
template <class M, class T>
[[gnu::flatten]] void norm_grad_row(const M* x, const T* weight, const M* dy, T rstd, M* dx,
                                    T* partial, int64_t n) {
  const T dot = sum_of<T>(n, [&](int64_t i, int64_t count) {
    return load(x + i, count) * load(weight + i, count) * load(dy + i, count);
  });
  const T slope = dot / static_cast<T>(n) * rstd * rstd;
  for_each_vec<T>(n, [&](int64_t i, int64_t count) {
    const Vec<T> v = load(x + i, count), d = load(dy + i, count);
    store(dx + i, (load(weight + i, count) * d - v * slope) * rstd, count);
    store(partial + i, load(partial + i, count) + d * (v * rstd), count);
  });
}

int rms_norm(const BackendCall* call, const RmsNormArgs* args) {
  return with_dtype(call, "rms_norm", args->x.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<M> x = rows_of<M>(args->x), y = rows_of<M>(args->y);
    const T* weight = static_cast<const T*>(args->weight.data);
    T* rstd = static_cast<T*>(args->rstd.data);
    for_rows(x.rows, x.cols, [&](int64_t r) {
      const T value = norm_row<M, T>(x[r], weight, y[r], x.cols, static_cast<T>(args->eps));
      if (rstd) rstd[r] = value;
    });
    return 0;
  });
}

int rms_norm_grad(const BackendCall* call, const RmsNormGradArgs* args) {
  return with_dtype(call, "rms_norm_grad", args->x.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<M> x = rows_of<M>(args->x), dy = rows_of<M>(args->dy), dx = rows_of<M>(args->dx);
    const T* weight = static_cast<const T*>(args->weight.data);
    const T* rstd = static_cast<const T*>(args->rstd.data);
    return column_sums<T>(
        call, "rms_norm_grad", x.rows, x.cols, static_cast<T*>(args->dweight.data),
        args->accumulate != 0, [&](T* partial, int64_t r) {
          norm_grad_row<M, T>(x[r], weight, dy[r], rstd[r], dx[r], partial, x.cols);
        });
  });
}

}  // namespace

void fill_norm(Backend& table) {
  table.rms_norm = rms_norm;
  table.rms_norm_grad = rms_norm_grad;
}

}  // namespace orthant::cpu::ORTHANT_ISA
