// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of logits with labels, and its gradient, in one visit of a row.
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"
#include "tensor/cpu/kernels/softmax.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

constexpr int64_t kChunk = 4096;  // exps that are added in the lanes before they join the f64 sum

template <class T>
[[gnu::flatten]] double sum_exp(const T* x, int64_t n, T max) {
  double sum = 0;
  for (int64_t begin = 0; begin < n; begin += kChunk) {
    const T* chunk = x + begin;
    sum += sum_of<T>(min_of(kChunk, n - begin), [&](int64_t i, int64_t count) {
      return first_lanes<T>(exp_of(load(chunk + i, count) - max), count, T{0});
    });
  }
  return sum;
}

template <class T, class M>
[[gnu::flatten]] void write_gradient(const T* x, M* dx, int64_t n, T max, T factor) {
  for_each_vec<T>(n, [&](int64_t i, int64_t count) {
    store(dx + i, exp_of(load(x + i, count) - max) * factor, count);
  });
}

template <class T, class M>
double cross_entropy_row(const T* x, int64_t n, int32_t label, M* dx) {
  if (label < 0) {
    if (dx) __builtin_memset(static_cast<void*>(dx), 0, static_cast<size_t>(n) * sizeof(M));
    return 0;
  }
  const T max = row_max(x, n);
  const double sum = sum_exp(x, n, max);
  const double label_logit = x[label];
  if (dx) {
    const double label_slope = __builtin_exp(label_logit - max) / sum - 1.0;
    write_gradient<T, M>(x, dx, n, max, static_cast<T>(1.0 / sum));
    narrow(static_cast<T>(label_slope), dx + label);
  }
  return static_cast<double>(max) + __builtin_log(sum) - label_logit;
}

template <class T, class M>
int cross_entropy_rows(const BackendCall* call, const CrossEntropyArgs* args) {
  const Rows<T> logits = rows_of<T>(args->logits);
  const Rows<M> dlogits = rows_of<M>(args->dlogits);
  const int32_t* labels = static_cast<const int32_t*>(args->labels.data);
  double* losses = static_cast<double*>(args->losses.data);
  for (int64_t r = 0; r < logits.rows; ++r)
    if (labels[r] >= logits.cols)
      return fail(call, "cross_entropy", "a label is beyond the logits");
  for_rows(logits.rows, logits.cols, [&](int64_t r) {
    losses[r] = cross_entropy_row<T, M>(logits[r], logits.cols, labels[r],
                                        dlogits.data ? dlogits[r] : nullptr);
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

}  // namespace

void fill_cross_entropy(Backend& table) { table.cross_entropy = cross_entropy; }

}  // namespace orthant::cpu::ORTHANT_ISA
