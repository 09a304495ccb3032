// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of logits with labels, and its gradient, in one visit of a row.
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"
#include "tensor/cpu/kernels/softmax.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

template <class T, class M>
[[gnu::flatten]] void write_gradient(const T* x, M* dx, int64_t n, T max, T factor) {
  for_each_vec<T>(n, [&](int64_t i, int64_t count) {
    store(dx + i, exp_of(load(x + i, count) - max) * factor, count);
  });
}

// What a row's loss and gradient need of it: VocabSumsArgs.
struct RowSums {
  double max = 0, sum = 0, label_logit = 0;
};

// label: counted from the part's first id.
template <class T>
RowSums sums_of_row(const T* x, int64_t n, int64_t label) {
  const T max = row_max(x, n);
  return {static_cast<double>(max), sum_exp(x, n, max),
          label >= 0 && label < n ? static_cast<double>(x[label]) : 0.0};
}

// Of the whole vocabulary, from its parts in order.
RowSums joined_sums(const Rows<double>& parts, int64_t rows, int64_t row) {
  RowSums whole{parts[row][0], 0, 0};
  for (int64_t r = row; r < parts.rows; r += rows)
    whole.max = parts[r][0] > whole.max ? parts[r][0] : whole.max;
  for (int64_t r = row; r < parts.rows; r += rows) {
    whole.sum += parts[r][1] * __builtin_exp(parts[r][0] - whole.max);
    whole.label_logit += parts[r][2];
  }
  return whole;
}

template <class T, class M>
void write_row_gradient(const T* x, int64_t n, int64_t label, const RowSums& sums, M* dx) {
  write_gradient<T, M>(x, dx, n, static_cast<T>(sums.max), static_cast<T>(1.0 / sums.sum));
  if (label < 0 || label >= n) return;
  const double slope = __builtin_exp(sums.label_logit - sums.max) / sums.sum - 1.0;
  narrow(static_cast<T>(slope), dx + label);
}

template <class T, class M>
int cross_entropy_rows(const BackendCall* call, const CrossEntropyArgs* args) {
  const Rows<T> logits = rows_of<T>(args->logits);
  const Rows<M> dlogits = rows_of<M>(args->dlogits);
  const Rows<double> parts = rows_of<double>(args->sums);
  const int32_t* labels = static_cast<const int32_t*>(args->labels.data);
  double* losses = static_cast<double*>(args->losses.data);
  const int64_t n = logits.cols;
  for (int64_t r = 0; r < logits.rows; ++r)
    if (!parts.data && labels[r] >= n)
      return fail(call, "cross_entropy", "a label is beyond the logits");
  for_rows(logits.rows, n, [&](int64_t r) {
    if (labels[r] < 0) {
      losses[r] = 0;
      if (dlogits.data)
        __builtin_memset(static_cast<void*>(dlogits[r]), 0, static_cast<size_t>(n) * sizeof(M));
      return;
    }
    const int64_t label = labels[r] - args->first_label;
    const RowSums sums =
        parts.data ? joined_sums(parts, logits.rows, r) : sums_of_row(logits[r], n, label);
    losses[r] = sums.max + __builtin_log(sums.sum) - sums.label_logit;
    if (dlogits.data) write_row_gradient(logits[r], n, label, sums, dlogits[r]);
  });
  return 0;
}

int cross_entropy(const BackendCall* call, const CrossEntropyArgs* args) {
  const bool wants_gradient = args->dlogits.data != nullptr;
  const DType wide = args->logits.dtype, out = wants_gradient ? args->dlogits.dtype : wide;
  if (wide == DType::kF64 && out == DType::kF64)
    return cross_entropy_rows<double, double>(call, args);
  if (wide == DType::kF32 && out == DType::kF32)
    return cross_entropy_rows<float, float>(call, args);
  if (wide == DType::kF32 && out == DType::kBF16)
    return cross_entropy_rows<float, bf16>(call, args);
  return fail_dtype(call, "cross_entropy", wide == DType::kF32 ? out : wide);
}

template <class T>
int vocab_sums_rows(const VocabSumsArgs* args) {
  const Rows<T> logits = rows_of<T>(args->logits);
  const Rows<double> out = rows_of<double>(args->sums);
  const int32_t* labels = static_cast<const int32_t*>(args->labels.data);
  for_rows(logits.rows, logits.cols, [&](int64_t r) {
    const RowSums sums = sums_of_row(logits[r], logits.cols, labels[r] - args->first_label);
    out[r][0] = sums.max, out[r][1] = sums.sum, out[r][2] = sums.label_logit;
  });
  return 0;
}

int vocab_sums(const BackendCall* call, const VocabSumsArgs* args) {
  if (args->logits.dtype == DType::kF64) return vocab_sums_rows<double>(args);
  if (args->logits.dtype == DType::kF32) return vocab_sums_rows<float>(args);
  return fail_dtype(call, "vocab_sums", args->logits.dtype);
}

}  // namespace

void fill_cross_entropy(Backend& table) {
  table.vocab_sums = vocab_sums;
  table.cross_entropy = cross_entropy;
}

}  // namespace orthant::cpu::ORTHANT_ISA
