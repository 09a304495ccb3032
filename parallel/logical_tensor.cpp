// SPDX-License-Identifier: Apache-2.0
#include "parallel/logical_tensor.h"

#include <cmath>
#include <numbers>

#include "base/parallel_for.h"
#include "base/philox.h"
#include "tensor/ops/elementwise.h"

namespace orthant {
namespace {

// The two normal numbers of a Box-Muller pair serve neighbouring elements.
double initial_normal(PhiloxKey key, int64_t index) {
  const Philox4 bits = philox(key, 0, static_cast<uint64_t>(index / 2));
  const double radius = std::sqrt(-2.0 * std::log(uniform_from(bits.x[0])));
  const double angle = 2.0 * std::numbers::pi * uniform_from(bits.x[1]);
  return radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

double initial_uniform(PhiloxKey key, int64_t index) {
  return 2.0 * uniform_from(philox(key, 0, static_cast<uint64_t>(index)).x[0]) - 1.0;
}

// Index in the whole tensor of the i-th element of the rectangle.
int64_t global_index(const LogicalTensor& t, int64_t i) {
  int64_t index = 0, stride = 1;
  for (int d = t.shape.rank() - 1; d >= 0; --d) {
    index += (t.begin[static_cast<size_t>(d)] + i % t.shape[d]) * stride;
    stride *= t.global_shape[d];
    i /= t.shape[d];
  }
  return index;
}

}  // namespace

LogicalTensor whole_tensor(std::string name, const Shape& shape, int64_t offset, double init_std) {
  return {.name = std::move(name),
          .global_shape = shape,
          .begin = std::vector<int64_t>(static_cast<size_t>(shape.rank()), 0),
          .shape = shape,
          .offset = offset,
          .init_std = init_std};
}

void fill_initial(const LogicalTensor& t, int64_t first, const Tensor& part, uint64_t seed) {
  if (t.init_std == 0.0 && t.init_bound == 0.0) {
    ops::fill(part, t.init_value);
    return;
  }
  if (part.device().is_meta()) return;
  const PhiloxKey key = make_key(seed, RandomPurpose::kInit, t.name);
  const Tensor host = Tensor::empty(part.shape(), DType::kF64);
  double* values = host.as<double>();
  const bool whole = t.is_whole();
  parallel_for(part.numel(), 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t index = whole ? first + i : global_index(t, first + i);
      values[i] = t.init_std != 0.0 ? t.init_std * initial_normal(key, index)
                                    : t.init_bound * initial_uniform(key, index);
    }
  });
  copy(host, part);
}

}  // namespace orthant
