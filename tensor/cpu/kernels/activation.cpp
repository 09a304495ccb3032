// SPDX-License-Identifier: Apache-2.0
// SwiGLU: y = silu(gate) * up, silu(g) = g / (1 + exp(-g)).
// Source: Shazeer, "GLU variants improve transformer", arXiv:2002.05202.
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

template <class M>
[[gnu::flatten]] void swiglu_row(const M* gate, const M* up, M* y, int64_t n) {
  using T = Wide<M>;
  for_each_vec<T>(n, [&](int64_t i, int64_t count) {
    const Vec<T> g = load(gate + i, count);
    store(y + i, g / (T{1} + exp_of(-g)) * load(up + i, count), count);
  });
}

template <class M>
[[gnu::flatten]] void swiglu_grad_row(const M* gate, const M* up, const M* dy, M* dgate, M* dup,
                                      int64_t n) {
  using T = Wide<M>;
  for_each_vec<T>(n, [&](int64_t i, int64_t count) {
    const Vec<T> g = load(gate + i, count), u = load(up + i, count), d = load(dy + i, count);
    const Vec<T> sigmoid = T{1} / (T{1} + exp_of(-g));
    store(dgate + i, d * u * sigmoid * (T{1} + g * (T{1} - sigmoid)), count);
    store(dup + i, d * g * sigmoid, count);
  });
}

int swiglu(const BackendCall* call, const SwigluArgs* args) {
  return with_dtype(call, "swiglu", args->x.dtype, [&]<class M>(M) {
    const Rows<M> x = rows_of<M>(args->x), y = rows_of<M>(args->y);
    for_rows(y.rows, y.cols, [&](int64_t r) { swiglu_row<M>(x[r], x[r] + y.cols, y[r], y.cols); });
    return 0;
  });
}

int swiglu_grad(const BackendCall* call, const SwigluGradArgs* args) {
  return with_dtype(call, "swiglu_grad", args->x.dtype, [&]<class M>(M) {
    const Rows<M> x = rows_of<M>(args->x), dy = rows_of<M>(args->dy), dx = rows_of<M>(args->dx);
    const int64_t n = dy.cols;
    for_rows(dy.rows, n,
             [&](int64_t r) { swiglu_grad_row<M>(x[r], x[r] + n, dy[r], dx[r], dx[r] + n, n); });
    return 0;
  });
}

}  // namespace

void fill_activation(Backend& table) {
  table.swiglu = swiglu;
  table.swiglu_grad = swiglu_grad;
}

}  // namespace orthant::cpu::ORTHANT_ISA
