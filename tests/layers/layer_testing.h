// SPDX-License-Identifier: Apache-2.0
// Layers in f64 against plain loops, and their gradients against finite differences.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "layers/builder.h"
#include "parallel/gradient_buffers.h"
#include "tests/tensor/op_case.h"

namespace orthant::testing {

using Values = std::vector<double>;

inline LayerBuilder builder_of(ParameterStore& store, const RankGroups& ranks = {}) {
  return {.store = store, .dtype = DType::kF64, .device = {}, .init_std = 0.3, .ranks = ranks};
}

// Normal numbers everywhere, also where layers start from ones.
inline void fill_randomly(ParameterStore& store) {
  for (const auto& parameter : store.all()) {
    const Tensor values = random_tensor(parameter->shape(), DType::kF64, parameter->name());
    if (!parameter->is_quantized()) copy(values, parameter->value());
    for (size_t i = 0; i < parameter->quantized().size(); ++i)
      parameter->quantize(i, parameter->logical_part(values, parameter->table()[i]));
    parameter->value_changed();
  }
}

inline Values values_of(const ParameterStore& store, const std::string& storage) {
  for (const auto& parameter : store.all())
    if (parameter->name() == storage) return parameter->elements().to_doubles();
  ADD_FAILURE() << "no parameter " << storage;
  return {};
}

// y [rows, out] = x [rows, in] w^T, w [out, in] from its `at`-th element on.
inline Values times_transposed(const Values& x, const Values& w, size_t in, size_t out,
                               size_t at = 0) {
  const size_t rows = x.size() / in;
  Values y(rows * out, 0.0);
  for (size_t r = 0; r < rows; ++r)
    for (size_t o = 0; o < out; ++o)
      for (size_t i = 0; i < in; ++i) y[r * out + o] += x[r * in + i] * w[at + o * in + i];
  return y;
}

inline void expect_near(const Tensor& got, const Values& want, const std::string& what = "") {
  const Values values = got.to_doubles();
  ASSERT_EQ(values.size(), want.size()) << what;
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(values[i], want[i], 1e-10 * std::max(1.0, std::abs(want[i]))) << what << " " << i;
}

// sum(f(x) * r), or the loss itself, by x and by all parameters of the store that train.
inline void check_gradients(ParameterStore& store, const Tensor& x,
                            const std::function<Var(const Var&)>& f, bool is_loss = false) {
  GradientBuffers gradients(store, {Group::self(), Group::self()}, plan_lanes(1, 1, 1), {});
  const Var leaf = Var::leaf(x);
  const Var y = f(leaf);
  const Tensor r = is_loss ? Tensor::from({1}, {{1.0}}, DType::kF64)
                           : random_tensor(y.value().shape(), DType::kF64, "r");
  const auto projected = [&] {
    const NoGradScope no_grad;
    const Values values = f(Var(x)).value().to_doubles(), factors = r.to_doubles();
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += values[i] * factors[i];
    return sum;
  };
  backward(y, r);
  gradients.finish_step();
  const auto check = [&](const Tensor& place, const Tensor& gradient,
                         const std::function<void()>& changed, const std::string& what) {
    for (int64_t i = 0; i < place.numel(); ++i) {
      double& element = place.as<double>()[i];
      const double keep = element, h = 1e-5;
      const auto at = [&](double value) {
        element = value;
        changed();
        return projected();
      };
      const double slope = (at(keep + h) - at(keep - h)) / (2 * h);
      at(keep);
      EXPECT_NEAR(slope, gradient.as<double>()[i], 1e-7 * std::max(1.0, std::abs(slope)))
          << what << " " << i;
    }
  };
  if (leaf.grad().defined())
    check(
        x, leaf.grad(), [] {}, "x");
  for (Parameter* parameter : gradients.parameters())
    check(
        parameter->value(), gradients.sum_of(*parameter), [&] { parameter->value_changed(); },
        parameter->name());
}

}  // namespace orthant::testing
