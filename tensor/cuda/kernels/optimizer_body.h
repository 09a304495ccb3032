// SPDX-License-Identifier: Apache-2.0
// One step of AdamW or SGD on a flat span; sums of squares.
// Source: Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv:1711.05101.
#pragma once

#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

inline constexpr int64_t kSumBlock = 4096;  // elements per sum of squares

// master = decay * master - step * m / (root * sqrt(v) + eps), where step = lr / bias1 and
// root = 1 / sqrt(bias2).
template <class M>
struct Adamw {
  using T = Wide<M>;
  M* param;
  T *master, *m, *v;
  const T* grad;
  T grad_scale, keep1, take1, keep2, take2, step, root, eps, decay;
  ORTHANT_HD void operator()(int64_t i) const {
    const T g = grad[i] * grad_scale;
    const T m1 = keep1 * m[i] + take1 * g;
    const T v1 = keep2 * v[i] + take2 * (g * g);
    const T p = decay * master[i] - step * m1 / (root * sqrt_of(v1) + eps);
    m[i] = m1;
    v[i] = v1;
    master[i] = p;
    narrow(p, param + i);
  }
};

template <class M>
struct Sgd {
  using T = Wide<M>;
  M* param;
  T* master;
  const T* grad;
  T grad_scale, step, decay;
  ORTHANT_HD void operator()(int64_t i) const {
    const T p = decay * master[i] - step * (grad[i] * grad_scale);
    master[i] = p;
    narrow(p, param + i);
  }
};

// One row of this body is one block of elements.
template <class M>
struct SumSquares {
  const M* x;
  int64_t n;
  double* sums;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t block, void*) const {
    const M* first = x + block * kSumBlock;
    const double sum =
        team.template sum<double>(min_of(kSumBlock, n - block * kSumBlock), [&](int64_t i) {
          const double value = static_cast<double>(widen(first[i]));
          return value * value;
        });
    team.once([&] { sums[block] = sum; });
  }
};

template <class Exec>
int adamw(const BackendCall* call, const AdamwArgs* args) {
  Exec exec(call, "adamw");
  return with_dtype(exec, args->param.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Adamw<M> body{data_of<M>(args->param),
                        data_of<T>(args->master),
                        data_of<T>(args->m),
                        data_of<T>(args->v),
                        data_of<const T>(args->grad),
                        static_cast<T>(args->grad_scale),
                        static_cast<T>(args->beta1),
                        static_cast<T>(1 - args->beta1),
                        static_cast<T>(args->beta2),
                        static_cast<T>(1 - args->beta2),
                        static_cast<T>(args->learning_rate / args->bias1),
                        static_cast<T>(1 / std::sqrt(args->bias2)),
                        static_cast<T>(args->eps),
                        static_cast<T>(1 - args->learning_rate * args->weight_decay)};
    return exec.elements(rows_of<M>(args->param).numel(), body);
  });
}
template <class Exec>
int sgd(const BackendCall* call, const SgdArgs* args) {
  Exec exec(call, "sgd");
  return with_dtype(exec, args->param.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Sgd<M> body{data_of<M>(args->param),
                      data_of<T>(args->master),
                      data_of<const T>(args->grad),
                      static_cast<T>(args->grad_scale),
                      static_cast<T>(args->learning_rate),
                      static_cast<T>(1 - args->learning_rate * args->weight_decay)};
    return exec.elements(rows_of<M>(args->param).numel(), body);
  });
}
template <class Exec>
int sum_squares(const BackendCall* call, const SumSquaresArgs* args) {
  Exec exec(call, "sum_squares");
  return with_dtype(exec, args->x.dtype, [&]<class M>(M) {
    const int64_t n = rows_of<M>(args->x).numel();
    return exec.rows((n + kSumBlock - 1) / kSumBlock,
                     SumSquares<M>{data_of<const M>(args->x), n, data_of<double>(args->sums)});
  });
}

}  // namespace orthant::cuda::kernels
