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

Var dropout(const Var& x, double probability, PhiloxKey key, uint64_t step, uint64_t first_index) {
  if (probability == 0.0) return x;
  const auto apply = [=](const Tensor& from) {
    const Tensor to = Tensor::like(from);
    ops::call(&Backend::dropout, "dropout", {&from, &to},
              DropoutArgs{.x = view_of(from),
                          .y = view_of(to),
                          .key0 = key.k0,
                          .key1 = key.k1,
                          .step = step,
                          .first_index = first_index,
                          .probability = probability});
    return to;
  };
  return record("dropout", {x}, apply(x.value()),
                [apply](const Tensor& dy) -> Grads { return {apply(dy)}; });
}

}  // namespace orthant
