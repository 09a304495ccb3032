// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of logits with labels, and its gradient; sums of exps in f64.
#pragma once

#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

// What a row's loss and gradient need of it: VocabSumsArgs.
struct RowSums {
  double max = 0, sum = 0, label_logit = 0;
};

// label: counted from the part's first id.
template <class T, class Team>
ORTHANT_HD RowSums sums_of_row(Team team, const T* x, int64_t n, int64_t label) {
  const T max = team.template max<T>(n, [&](int64_t i) { return x[i]; });
  const double sum = team.template sum<double>(
      n, [&](int64_t i) { return static_cast<double>(exp_of(x[i] - max)); });
  return {static_cast<double>(max), sum,
          label >= 0 && label < n ? static_cast<double>(x[label]) : 0.0};
}

template <class T>
struct VocabSums {
  Rows<const T> logits;
  const int32_t* labels;
  int64_t first_label;
  Rows<double> out;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t row, void*) const {
    const RowSums sums = sums_of_row(team, logits[row], logits.cols, labels[row] - first_label);
    team.once(
        [&] { out[row][0] = sums.max, out[row][1] = sums.sum, out[row][2] = sums.label_logit; });
  }
};

template <class T, class M>
struct CrossEntropy {
  Rows<const T> logits;
  const int32_t* labels;
  int64_t first_label;
  Rows<const double> parts;
  double* losses;
  Rows<M> dlogits;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t row, void*) const {
    const int64_t n = logits.cols, label = labels[row] - first_label;
    const T* x = logits[row];
    M* dx = dlogits.data ? dlogits[row] : nullptr;
    if (labels[row] < 0) {
      if (dx) team.each(n, [&](int64_t i) { narrow(T{0}, dx + i); });
      team.once([&] { losses[row] = 0; });
      return;
    }
    const RowSums sums = parts.data ? joined_sums(row) : sums_of_row(team, x, n, label);
    if (dx) {
      const T max = static_cast<T>(sums.max), factor = static_cast<T>(1.0 / sums.sum);
      const double slope = exp_of(sums.label_logit - sums.max) / sums.sum - 1.0;
      team.each(n, [&](int64_t i) {
        narrow(i == label ? static_cast<T>(slope) : exp_of(x[i] - max) * factor, dx + i);
      });
    }
    team.once([&] { losses[row] = sums.max + log_of(sums.sum) - sums.label_logit; });
  }

  // Of the whole vocabulary, from its parts in order.
  ORTHANT_HD RowSums joined_sums(int64_t row) const {
    RowSums whole{parts[row][0], 0, 0};
    for (int64_t r = row; r < parts.rows; r += logits.rows)
      whole.max = parts[r][0] > whole.max ? parts[r][0] : whole.max;
    for (int64_t r = row; r < parts.rows; r += logits.rows) {
      whole.sum += parts[r][1] * exp_of(parts[r][0] - whole.max);
      whole.label_logit += parts[r][2];
    }
    return whole;
  }
};

template <class T, class M, class Exec>
int cross_entropy_rows(Exec& exec, const CrossEntropyArgs* args) {
  const Rows<const T> logits = rows_of<const T>(args->logits);
  const Rows<const double> parts = rows_of<const double>(args->sums);
  if (!parts.data) {
    if (const int status = check_ids(exec, flat_ids(args->labels, logits.rows), logits.cols,
                                     "a label is beyond the logits"))
      return status;
  }
  return exec.rows(
      logits.rows,
      CrossEntropy<T, M>{logits, data_of<const int32_t>(args->labels), args->first_label, parts,
                         data_of<double>(args->losses), rows_of<M>(args->dlogits)});
}

template <class Exec>
int vocab_sums(const BackendCall* call, const VocabSumsArgs* args) {
  Exec exec(call, "vocab_sums");
  return with_wide_dtype(exec, args->logits.dtype, [&]<class T>(T) {
    const Rows<const T> logits = rows_of<const T>(args->logits);
    return exec.rows(logits.rows, VocabSums<T>{logits, data_of<const int32_t>(args->labels),
                                               args->first_label, rows_of<double>(args->sums)});
  });
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
