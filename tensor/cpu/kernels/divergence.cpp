// SPDX-License-Identifier: Apache-2.0
// Kullback-Leibler divergences between the softmaxes of two rows, and their gradient.
//   p = softmax(y), q = softmax(x), d = log p - log q
//   KL(p | q) = sum p d       by x: q - p
//   KL(q | p) = - sum q d     by x: - q (d + KL(q | p))
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"
#include "tensor/cpu/kernels/softmax.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

// A row's logits as a distribution.
template <class T>
struct Distribution {
  Distribution(const T* logits, int64_t n) : x(logits), max(row_max(logits, n)) {
    const double sum = sum_exp(logits, n, max);
    factor = static_cast<T>(1.0 / sum);
    log_sum = static_cast<double>(max) + __builtin_log(sum);
  }
  Vec<T> at(int64_t i, int64_t count) const { return exp_of(load(x + i, count) - max) * factor; }

  const T* x;
  T max, factor;
  double log_sum;
};

template <class T>
struct Row {
  Row(const T* x, const T* y, int64_t columns)
      : q(x, columns), p(y, columns), n(columns), shift(static_cast<T>(p.log_sum - q.log_sum)) {}
  // log p - log q.
  Vec<T> difference(int64_t i, int64_t count) const {
    return (load(p.x + i, count) - load(q.x + i, count)) - shift;
  }

  Distribution<T> q, p;
  int64_t n;
  T shift;
};

// Of `of` times the difference, over the row.
template <class T>
[[gnu::flatten]] double expected(const Row<T>& row, const Distribution<T>& of) {
  return sum_in_chunks<T>(row.n, [&](int64_t i, int64_t count) {
    return first_lanes<T>(of.at(i, count) * row.difference(i, count), count, T{0});
  });
}

template <class T>
[[gnu::flatten]] void write_gradient(const Row<T>& row, T forward, T reverse, T kl, T* dx) {
  for_each_vec<T>(row.n, [&](int64_t i, int64_t count) {
    const Vec<T> q = row.q.at(i, count);
    store(dx + i,
          (q - row.p.at(i, count)) * forward - q * (row.difference(i, count) + kl) * reverse,
          count);
  });
}

template <class T>
int divergence_rows(const DivergenceArgs* args) {
  const Rows<T> x = rows_of<T>(args->x), y = rows_of<T>(args->y), dx = rows_of<T>(args->dx);
  const int32_t* labels = static_cast<const int32_t*>(args->labels.data);
  double* losses = static_cast<double*>(args->losses.data);
  for_rows(x.rows, x.cols, [&](int64_t r) {
    if (labels[r] < 0) {
      losses[r] = 0;
      if (dx.data)
        __builtin_memset(static_cast<void*>(dx[r]), 0, static_cast<size_t>(x.cols) * sizeof(T));
      return;
    }
    const Row<T> row(x[r], y[r], x.cols);
    const double forward = args->forward == 0 ? 0 : expected(row, row.p);
    const double reverse = args->reverse == 0 ? 0 : -expected(row, row.q);
    losses[r] = args->forward * forward + args->reverse * reverse;
    if (dx.data)
      write_gradient(row, static_cast<T>(args->forward), static_cast<T>(args->reverse),
                     static_cast<T>(reverse), dx[r]);
  });
  return 0;
}

int divergence(const BackendCall* call, const DivergenceArgs* args) {
  if (args->x.dtype == DType::kF64) return divergence_rows<double>(args);
  if (args->x.dtype == DType::kF32) return divergence_rows<float>(args);
  return fail_dtype(call, "divergence", args->x.dtype);
}

}  // namespace

void fill_divergence(Backend& table) { table.divergence = divergence; }

}  // namespace orthant::cpu::ORTHANT_ISA
