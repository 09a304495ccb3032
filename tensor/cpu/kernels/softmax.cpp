// SPDX-License-Identifier: Apache-2.0
// Softmax over the last dimension, and its gradient dx = y * (dy - sum(y dy)).
#include "tensor/cpu/kernels/softmax.h"

#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

template <class M>
[[gnu::flatten]] void softmax_grad_row(const M* y, const M* dy, M* dx, int64_t n) {
  using T = Wide<M>;
  const T dot = sum_of<T>(
      n, [&](int64_t i, int64_t count) { return load(y + i, count) * load(dy + i, count); });
  for_each_vec<T>(n, [&](int64_t i, int64_t count) {
    store(dx + i, load(y + i, count) * (load(dy + i, count) - dot), count);
  });
}

int softmax(const BackendCall* call, const SoftmaxArgs* args) {
  return with_dtype(call, "softmax", args->x.dtype, [&]<class M>(M) {
    const Rows<M> x = rows_of<M>(args->x), y = rows_of<M>(args->y);
    for_rows(x.rows, x.cols, [&](int64_t r) { softmax_row<M, M>(x[r], y[r], x.cols); });
    return 0;
  });
}

int softmax_grad(const BackendCall* call, const SoftmaxGradArgs* args) {
  return with_dtype(call, "softmax_grad", args->y.dtype, [&]<class M>(M) {
    const Rows<M> y = rows_of<M>(args->y), dy = rows_of<M>(args->dy), dx = rows_of<M>(args->dx);
    for_rows(y.rows, y.cols, [&](int64_t r) { softmax_grad_row<M>(y[r], dy[r], dx[r], y.cols); });
    return 0;
  });
}

}  // namespace

void fill_softmax(Backend& table) {
  table.softmax = softmax;
  table.softmax_grad = softmax_grad;
}

}  // namespace orthant::cpu::ORTHANT_ISA
