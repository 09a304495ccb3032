// SPDX-License-Identifier: Apache-2.0
// Ops without a gradient of their own: sums, casts, fills, and what optimizers need.
#pragma once

#include "tensor/backend.h"
#include "tensor/tensor.h"

namespace orthant::ops {

// y = a + b; y may be a or b.
void add(const Tensor& a, const Tensor& b, const Tensor& y);
// y += x, converting.
void accumulate(const Tensor& x, const Tensor& y);
// y = x * factor; y may be x.
void scale(const Tensor& x, double factor, const Tensor& y);
void fill(const Tensor& y, double value);
// Columns of one tensor to columns of another (columns_of, tensor/ops/call.h); or added to them.
void copy_columns(const Tensor& from, const View& from_view, const View& to_view,
                  bool accumulate = false);
// f64 sums of squares over consecutive blocks of 4,096 elements.
Tensor sum_squares(const Tensor& x);

}  // namespace orthant::ops
