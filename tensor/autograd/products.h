// SPDX-License-Identifier: Apache-2.0
// The matrix product as ops over weights call it.
#pragma once

#include "tensor/autograd/weight.h"
#include "tensor/ops/call.h"

namespace orthant {

inline Tensor as_rows(const Tensor& x) { return x.view({x.rows(), x.dim(-1)}); }

// c = a b, or c += a b.
inline void multiply(const Tensor& a, bool trans_a, const Tensor& b, bool trans_b, const Tensor& c,
                     bool accumulate, const void* prepared_b = nullptr) {
  ops::call(&Backend::matmul, "linear", {&a, &b, &c},
            MatmulArgs{.a = ops::view_of(a),
                       .b = ops::view_of(b),
                       .c = ops::view_of(c),
                       .trans_a = trans_a,
                       .trans_b = trans_b,
                       .accumulate = accumulate,
                       .prepared_b = prepared_b});
}
// y = x w^T and dx = dy w, for a weight that was lent in the form for it.
inline void multiply_forward(const Tensor& x, const Operand& w, const Tensor& y) {
  multiply(x, false, w.view(), true, y, false, w.prepared());
}
inline void multiply_back(const Tensor& dy, const Operand& w, const Tensor& dx) {
  multiply(dy, false, w.view(), false, dx, false, w.prepared());
}

}  // namespace orthant
