// SPDX-License-Identifier: Apache-2.0
#include "tensor/ops/elementwise.h"

#include "tensor/ops/call.h"

namespace orthant::ops {

void add(const Tensor& a, const Tensor& b, const Tensor& y) {
  ORTHANT_OP_CHECK("add", a.shape() == b.shape() && a.shape() == y.shape(), a, b, y);
  if (a.numel() == 0) return;
  call(&Backend::add, "add", {&a, &b, &y},
       BinaryArgs{.a = view_of(a), .b = view_of(b), .y = view_of(y)});
}

void accumulate(const Tensor& x, const Tensor& y) {
  ORTHANT_OP_CHECK("accumulate", x.shape() == y.shape(), x, y);
  if (x.numel() == 0) return;
  call(&Backend::cast, "accumulate", {&x, &y},
       CastArgs{.x = view_of(x), .y = view_of(y), .accumulate = 1});
}

void scale(const Tensor& x, double factor, const Tensor& y) {
  ORTHANT_OP_CHECK("scale", x.shape() == y.shape(), x, y);
  if (x.numel() == 0) return;
  call(&Backend::scale, "scale", {&x, &y},
       ScaleArgs{.x = view_of(x), .y = view_of(y), .factor = factor});
}

void fill(const Tensor& y, double value) {
  if (y.numel() == 0) return;
  call(&Backend::fill, "fill", {&y}, FillArgs{.y = view_of(y), .value = value});
}

Tensor sum_squares(const Tensor& x) {
  const Tensor sums = Tensor::empty({(x.numel() + 4095) / 4096}, DType::kF64, x.device());
  if (x.numel() == 0) return sums;
  const Tensor flat = x.view({x.numel()});
  call(&Backend::sum_squares, "sum_squares", {&flat, &sums},
       SumSquaresArgs{.x = view_of(flat), .sums = view_of(sums)});
  return sums;
}

void copy_columns(const Tensor& from, const View& from_view, const View& to_view, bool accumulate) {
  if (from.numel() == 0 || to_view.shape[to_view.rank - 1] == 0) return;
  call(&Backend::cast, "copy_columns", {&from},
       CastArgs{.x = from_view, .y = to_view, .accumulate = accumulate});
}

}  // namespace orthant::ops
