// SPDX-License-Identifier: Apache-2.0
// Kullback-Leibler divergences between the softmaxes of two rows, and their gradient; sums in f64.
// The formulas are those of tensor/cpu/kernels/divergence.cpp.
#pragma once

#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

// A row's logits as a distribution.
template <class T>
struct Distribution {
  const T* x = nullptr;
  T max = 0, factor = 0;
  double log_sum = 0;
  ORTHANT_HD T at(int64_t i) const { return exp_of(x[i] - max) * factor; }
};

template <class T, class Team>
ORTHANT_HD Distribution<T> distribution_of(Team team, const T* x, int64_t n) {
  const T max = team.template max<T>(n, [&](int64_t i) { return x[i]; });
  const double sum = team.template sum<double>(
      n, [&](int64_t i) { return static_cast<double>(exp_of(x[i] - max)); });
  return {x, max, static_cast<T>(1.0 / sum), static_cast<double>(max) + log_of(sum)};
}

template <class T>
struct Divergence {
  Rows<const T> x, y;
  const int32_t* labels;
  double* losses;
  Rows<T> dx;
  double forward_weight, reverse_weight;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t row, void*) const {
    const int64_t n = x.cols;
    T* out = dx.data ? dx[row] : nullptr;
    if (labels[row] < 0) {
      if (out) team.each(n, [&](int64_t i) { out[i] = T{0}; });
      team.once([&] { losses[row] = 0; });
      return;
    }
    const Distribution<T> q = distribution_of(team, x[row], n),
                          p = distribution_of(team, y[row], n);
    const T shift = static_cast<T>(p.log_sum - q.log_sum);
    const auto difference = [&](int64_t i) { return (p.x[i] - q.x[i]) - shift; };
    const auto expected = [&](const Distribution<T>& of) {
      return team.template sum<double>(
          n, [&](int64_t i) { return static_cast<double>(of.at(i) * difference(i)); });
    };
    const double forward = forward_weight == 0 ? 0 : expected(p);
    const double reverse = reverse_weight == 0 ? 0 : -expected(q);
    if (out) {
      const T kl = static_cast<T>(reverse), forward_factor = static_cast<T>(forward_weight),
              reverse_factor = static_cast<T>(reverse_weight);
      team.each(n, [&](int64_t i) {
        out[i] =
            (q.at(i) - p.at(i)) * forward_factor - q.at(i) * (difference(i) + kl) * reverse_factor;
      });
    }
    team.once([&] { losses[row] = forward_weight * forward + reverse_weight * reverse; });
  }
};

template <class Exec>
int divergence(const BackendCall* call, const DivergenceArgs* args) {
  Exec exec(call, "divergence");
  return with_wide_dtype(exec, args->x.dtype, [&]<class T>(T) {
    const Rows<const T> x = rows_of<const T>(args->x);
    return exec.rows(
        x.rows, Divergence<T>{x, rows_of<const T>(args->y), data_of<const int32_t>(args->labels),
                              data_of<double>(args->losses), rows_of<T>(args->dx), args->forward,
                              args->reverse});
  });
}

}  // namespace orthant::cuda::kernels
