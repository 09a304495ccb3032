// SPDX-License-Identifier: Apache-2.0
// The matrix product as ops over weights call it.
#pragma once

#include "tensor/ops/call.h"

namespace orthant {

inline Tensor as_rows(const Tensor& x) { return x.view({x.rows(), x.dim(-1)}); }

// c = a b, or c += a b; `prepared_b` is a prepared form of b or null.
inline void multiply(const Tensor& a, bool trans_a, const Tensor& b, bool trans_b, const Tensor& c,
                     bool accumulate, const void* prepared_b) {
  ops::call(&Backend::matmul, "linear", {&a, &b, &c},
            MatmulArgs{.a = ops::view_of(a),
                       .b = ops::view_of(b),
                       .c = ops::view_of(c),
                       .trans_a = trans_a,
                       .trans_b = trans_b,
                       .accumulate = accumulate,
                       .prepared_b = prepared_b});
}

}  // namespace orthant
