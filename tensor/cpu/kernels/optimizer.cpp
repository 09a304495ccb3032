// SPDX-License-Identifier: Apache-2.0
// One step of AdamW or SGD on a flat span, in one visit of memory; and sums of squares.
// Source: Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv:1711.05101.
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

constexpr int64_t kSumBlock = 4096;  // elements per sum of squares

inline double sqrt_of(double x) { return __builtin_sqrt(x); }
inline float sqrt_of(float x) { return __builtin_sqrtf(x); }

template <class T>
struct AdamwFactors {
  T grad, keep1, take1, keep2, take2, step, root, eps, decay;
};

// master = decay * master - step * m / (root * sqrt(v) + eps), where step = lr / bias1 and
// root = 1 / sqrt(bias2).
template <class M, class T>
void adamw_span(M* param, T* master, T* m, T* v, const T* grad, AdamwFactors<T> f, int64_t begin,
                int64_t end) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    const T g = grad[i] * f.grad;
    const T m1 = f.keep1 * m[i] + f.take1 * g;
    const T v1 = f.keep2 * v[i] + f.take2 * (g * g);
    const T p = f.decay * master[i] - f.step * m1 / (f.root * sqrt_of(v1) + f.eps);
    m[i] = m1;
    v[i] = v1;
    master[i] = p;
    narrow(p, param + i);
  }
}

template <class M, class T>
void sgd_span(M* param, T* master, const T* grad, T grad_scale, T step, T decay, int64_t begin,
              int64_t end) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    const T p = decay * master[i] - step * (grad[i] * grad_scale);
    master[i] = p;
    narrow(p, param + i);
  }
}

template <class M>
[[gnu::flatten]] double sum_squares_block(const M* x, int64_t n) {
  // Widened to double before the product.
  constexpr int kL = kLanes<double>;
  Vec<double> sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kL <= n; i += 4 * kL) {
    for (int u = 0; u < 4; ++u) {
      Vec<double> v = {};
      for (int lane = 0; lane < kL; ++lane) v[lane] = widen(x[i + u * kL + lane]);
      sums[u] += v * v;
    }
  }
  double rest = 0;
  for (; i < n; ++i) rest += static_cast<double>(widen(x[i])) * static_cast<double>(widen(x[i]));
  return sum_lanes<double>((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}

int adamw(const BackendCall* call, const AdamwArgs* args) {
  return with_dtype(call, "adamw", args->param.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<M> param = rows_of<M>(args->param);
    T* master = static_cast<T*>(args->master.data);
    T* m = static_cast<T*>(args->m.data);
    T* v = static_cast<T*>(args->v.data);
    const T* grad = static_cast<const T*>(args->grad.data);
    const AdamwFactors<T> factors{
        .grad = static_cast<T>(args->grad_scale),
        .keep1 = static_cast<T>(args->beta1),
        .take1 = static_cast<T>(1 - args->beta1),
        .keep2 = static_cast<T>(args->beta2),
        .take2 = static_cast<T>(1 - args->beta2),
        .step = static_cast<T>(args->learning_rate / args->bias1),
        .root = static_cast<T>(1 / __builtin_sqrt(args->bias2)),
        .eps = static_cast<T>(args->eps),
        .decay = static_cast<T>(1 - args->learning_rate * args->weight_decay)};
    parallel_for(param.rows * param.cols, kElementsPerPiece, [&](int64_t begin, int64_t end) {
      adamw_span<M, T>(param.data, master, m, v, grad, factors, begin, end);
    });
    return 0;
  });
}

int sgd(const BackendCall* call, const SgdArgs* args) {
  return with_dtype(call, "sgd", args->param.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<M> param = rows_of<M>(args->param);
    T* master = static_cast<T*>(args->master.data);
    const T* grad = static_cast<const T*>(args->grad.data);
    const T scale = static_cast<T>(args->grad_scale), step = static_cast<T>(args->learning_rate);
    const T decay = static_cast<T>(1 - args->learning_rate * args->weight_decay);
    parallel_for(param.rows * param.cols, kElementsPerPiece, [&](int64_t begin, int64_t end) {
      sgd_span<M, T>(param.data, master, grad, scale, step, decay, begin, end);
    });
    return 0;
  });
}

int sum_squares(const BackendCall* call, const SumSquaresArgs* args) {
  return with_dtype(call, "sum_squares", args->x.dtype, [&]<class M>(M) {
    const Rows<M> x = rows_of<M>(args->x);
    const int64_t n = x.rows * x.cols;
    double* sums = static_cast<double*>(args->sums.data);
    parallel_for((n + kSumBlock - 1) / kSumBlock, 8, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block)
        sums[block] =
            sum_squares_block(x.data + block * kSumBlock, min_of(kSumBlock, n - block * kSumBlock));
    });
    return 0;
  });
}

}  // namespace

void fill_optimizer(Backend& table) {
  table.adamw = adamw;
  table.sgd = sgd;
  table.sum_squares = sum_squares;
}

}  // namespace orthant::cpu::ORTHANT_ISA
