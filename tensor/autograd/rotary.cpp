// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"

namespace orthant {

using ops::view_of;

std::vector<double> rotary_frequencies(int64_t dim, double theta) {
  ORTHANT_CHECK(dim % 2 == 0, kInternal, "rotary: want an even width, got ", dim);
  std::vector<double> frequencies;
  for (int64_t i = 0; i < dim; i += 2)
    frequencies.push_back(std::pow(theta, -static_cast<double>(i) / static_cast<double>(dim)));
  return frequencies;
}

RotaryTable make_rotary_table(int64_t positions, std::span<const double> frequencies, double factor,
                              DType dtype, Device device) {
  const Shape shape = {positions, std::ssize(frequencies)};
  // A model that is only looked at may be made for any length.
  if (device.is_meta())
    return {Tensor::empty(shape, dtype, device), Tensor::empty(shape, dtype, device)};
  std::vector<double> cos, sin;
  cos.reserve(static_cast<size_t>(shape.numel()));
  sin.reserve(static_cast<size_t>(shape.numel()));
  for (int64_t p = 0; p < positions; ++p) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(p) * frequency;
      cos.push_back(factor * std::cos(angle));
      sin.push_back(factor * std::sin(angle));
    }
  }
  return {Tensor::from(shape, cos, dtype, device), Tensor::from(shape, sin, dtype, device)};
}

namespace {

struct Turned {  // columns of a row
  int64_t heads, head_dim, offset;
};

Tensor turn(const Tensor& x, const Tensor& positions, const RotaryTable& table,
            const Turned& turned, bool inverse) {
  const Tensor y = Tensor::like(x);
  ops::call(&Backend::rotary, "rotary", {&x, &positions, &table.cos},
            RotaryArgs{.x = view_of(x),
                       .y = view_of(y),
                       .positions = view_of(positions),
                       .cos = view_of(table.cos),
                       .sin = view_of(table.sin),
                       .heads = turned.heads,
                       .head_dim = turned.head_dim,
                       .inverse = inverse,
                       .offset = turned.offset});
  return y;
}

}  // namespace

Var rotary(const Var& x, const Tensor& positions, const RotaryTable& table, int64_t heads,
           int64_t head_dim, int64_t offset) {
  ORTHANT_OP_CHECK(
      "rotary", heads * head_dim <= x.value().dim(-1) && offset + 2 * table.cos.dim(1) <= head_dim,
      x.value(), table.cos);
  ORTHANT_OP_CHECK("rotary",
                   positions.numel() == x.value().rows() && positions.dtype() == DType::kI32,
                   x.value(), positions);
  const Turned turned{heads, head_dim, offset};
  return record(
      "rotary", {x}, turn(x.value(), positions, table, turned, false),
      [=](const Tensor& dy) -> Grads { return {turn(dy, positions, table, turned, true)}; });
}

}  // namespace orthant
