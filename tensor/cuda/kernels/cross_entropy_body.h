// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of logits with labels, and its gradient; sums of exps in f64.
#pragma once

#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

template <class T, class M>
struct CrossEntropy {
  Rows<const T> logits;
  const int32_t* labels;
  double* losses;
  Rows<M> dlogits;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t row, void*) const {
    const int64_t n = logits.cols, label = labels[row];
    const T* x = logits[row];
    M* dx = dlogits.data ? dlogits[row] : nullptr;
    if (label < 0) {
      if (dx) team.each(n, [&](int64_t i) { narrow(T{0}, dx + i); });
      team.once([&] { losses[row] = 0; });
      return;
    }
    const T max = team.template max<T>(n, [&](int64_t i) { return x[i]; });
    const double sum = team.template sum<double>(
        n, [&](int64_t i) { return static_cast<double>(exp_of(x[i] - max)); });
    const double label_logit = static_cast<double>(x[label]);
    if (dx) {
      const T factor = static_cast<T>(1.0 / sum);
      const double slope = exp_of(label_logit - static_cast<double>(max)) / sum - 1.0;
      team.each(n, [&](int64_t i) {
        narrow(i == label ? static_cast<T>(slope) : exp_of(x[i] - max) * factor, dx + i);
      });
    }
    team.once([&] { losses[row] = static_cast<double>(max) + log_of(sum) - label_logit; });
  }
};

template <class T, class M, class Exec>
int cross_entropy_rows(Exec& exec, const CrossEntropyArgs* args) {
  const Rows<const T> logits = rows_of<const T>(args->logits);
  if (const int status = check_ids(exec, flat_ids(args->labels, logits.rows), logits.cols,
                                   "a label is beyond the logits"))
    return status;
  return exec.rows(logits.rows,
                   CrossEntropy<T, M>{logits, data_of<const int32_t>(args->labels),
                                      data_of<double>(args->losses), rows_of<M>(args->dlogits)});
}

template <class Exec>
int cross_entropy(const BackendCall* call, const CrossEntropyArgs* args) {
  Exec exec(call, "cross_entropy");
  const DType wide = args->logits.dtype;
  const DType out = args->dlogits.data != nullptr ? args->dlogits.dtype : wide;
  if (wide == DType::kF64 && out == DType::kF64)
    return cross_entropy_rows<double, double>(exec, args);
  if (wide == DType::kF32 && out == DType::kF32)
    return cross_entropy_rows<float, float>(exec, args);
  if (wide == DType::kF32 && out == DType::kBF16)
    return cross_entropy_rows<float, bf16>(exec, args);
  return fail_dtype(exec, wide == DType::kF32 ? out : wide);
}

}  // namespace orthant::cuda::kernels
