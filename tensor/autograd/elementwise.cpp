// SPDX-License-Identifier: Apache-2.0
#include "tensor/ops/elementwise.h"

#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"

namespace orthant {

using ops::view_of;

Var add(const Var& a, const Var& b) {
  const Tensor y = Tensor::like(a.value());
  ops::add(a.value(), b.value(), y);
  return record("add", {a, b}, y, [](const Tensor& dy) -> Grads { return {dy, dy}; });
}

Var scale(const Var& x, double factor) {
  const Tensor y = Tensor::like(x.value());
  ops::scale(x.value(), factor, y);
  return record("scale", {x}, y, [factor](const Tensor& dy) -> Grads {
    const Tensor dx = Tensor::like(dy);
    ops::scale(dy, factor, dx);
    return {dx};
  });
}

Var cast(const Var& x, DType dtype) {
  const DType from = x.value().dtype();
  if (from == dtype) return x;
  return record("cast", {x}, x.value().to(dtype),
                [from](const Tensor& dy) -> Grads { return {dy.to(from)}; });
}

using ops::copy_columns;

Var join_columns(const Var& a, const Var& b) {
  const Tensor &av = a.value(), &bv = b.value();
  ORTHANT_OP_CHECK("join_columns", av.rank() == 2 && bv.rank() == 2 && av.dim(0) == bv.dim(0), av,
                   bv);
  const int64_t middle = av.dim(1), end = middle + bv.dim(1);
  const Tensor y = Tensor::empty({av.dim(0), end}, av.dtype(), av.device());
  copy_columns(av, view_of(av), ops::columns_of(y, 0, middle));
  copy_columns(bv, view_of(bv), ops::columns_of(y, middle, end));
  return record("join_columns", {a, b}, y, [middle, end](const Tensor& dy) -> Grads {
    const Tensor da = Tensor::empty({dy.dim(0), middle}, dy.dtype(), dy.device());
    const Tensor db = Tensor::empty({dy.dim(0), end - middle}, dy.dtype(), dy.device());
    copy_columns(dy, ops::columns_of(dy, 0, middle), view_of(da));
    copy_columns(dy, ops::columns_of(dy, middle, end), view_of(db));
    return {da, db};
  });
}

Var columns(const Var& x, int64_t begin, int64_t end) {
  const Tensor& xv = x.value();
  ORTHANT_OP_CHECK("columns", xv.rank() == 2 && 0 <= begin && begin <= end && end <= xv.dim(1), xv);
  const Tensor y = Tensor::empty({xv.dim(0), end - begin}, xv.dtype(), xv.device());
  copy_columns(xv, ops::columns_of(xv, begin, end), view_of(y));
  return record("columns", {x}, y, [begin, end, shape = xv.shape()](const Tensor& dy) -> Grads {
    const Tensor dx = Tensor::zeros(shape, dy.dtype(), dy.device());
    copy_columns(dy, view_of(dy), ops::columns_of(dx, begin, end));
    return {dx};
  });
}

Var dropout(const Var& x, double probability, PhiloxKey key, uint64_t step,
            const DropoutRows& rows) {
  if (probability == 0.0) return x;
  ORTHANT_OP_CHECK("dropout",
                   rows.tokens.dtype() == DType::kI64 &&
                       (x.value().numel() == 0 || rows.tokens.numel() == x.value().rows()),
                   x.value(), rows.tokens);
  const auto apply = [=](const Tensor& from) {
    const Tensor to = Tensor::like(from);
    if (from.numel() == 0) return to;
    ops::call(&Backend::dropout, "dropout", {&from, &to},
              DropoutArgs{.x = view_of(from),
                          .y = view_of(to),
                          .tokens = view_of(rows.tokens),
                          .key0 = key.k0,
                          .key1 = key.k1,
                          .step = step,
                          .row_width = rows.width ? rows.width : from.dim(-1),
                          .first_column = rows.column,
                          .probability = probability});
    return to;
  };
  return record("dropout", {x}, apply(x.value()),
                [apply](const Tensor& dy) -> Grads { return {apply(dy)}; });
}

}  // namespace orthant
