// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"

namespace orthant {

using ops::view_of;

RotaryTable make_rotary_table(int64_t positions, int64_t head_dim, double theta, DType dtype,
                              Device device) {
  ORTHANT_CHECK(head_dim % 2 == 0, kInternal, "rotary: want an even head dimension, got ",
                head_dim);
  const int64_t half = head_dim / 2;
  std::vector<double> cos(static_cast<size_t>(positions * half)), sin(cos.size());
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle =
          static_cast<double>(p) *
          std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
      cos[static_cast<size_t>(p * half + i)] = std::cos(angle);
      sin[static_cast<size_t>(p * half + i)] = std::sin(angle);
    }
  }
  return {Tensor::from({positions, half}, cos, dtype, device),
          Tensor::from({positions, half}, sin, dtype, device)};
}

namespace {

Tensor turn(const Tensor& x, const Tensor& positions, const RotaryTable& table, int64_t heads,
            int64_t head_dim, bool inverse) {
  const Tensor y = Tensor::like(x);
  ops::call(&Backend::rotary, "rotary", {&x, &positions, &table.cos},
            RotaryArgs{.x = view_of(x),
                       .y = view_of(y),
                       .positions = view_of(positions),
                       .cos = view_of(table.cos),
                       .sin = view_of(table.sin),
                       .heads = heads,
                       .head_dim = head_dim,
                       .inverse = inverse});
  return y;
}

}  // namespace

Var rotary(const Var& x, const Tensor& positions, const RotaryTable& table, int64_t heads,
           int64_t head_dim) {
  ORTHANT_OP_CHECK("rotary",
                   heads * head_dim <= x.value().dim(-1) && table.cos.dim(1) == head_dim / 2,
                   x.value(), table.cos);
  ORTHANT_OP_CHECK("rotary",
                   positions.numel() == x.value().rows() && positions.dtype() == DType::kI32,
                   x.value(), positions);
  return record("rotary", {x}, turn(x.value(), positions, table, heads, head_dim, false),
                [=](const Tensor& dy) -> Grads {
                  return {turn(dy, positions, table, heads, head_dim, true)};
                });
}

}  // namespace orthant
