// SPDX-License-Identifier: Apache-2.0
// One case per differentiable op: gradients against finite differences in f64, and the narrow
// dtypes against f64.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/philox.h"
#include "tensor/autograd/ops.h"

namespace orthant::testing {

// Normal values of (name, index), the same for every dtype up to rounding.
inline Tensor random_tensor(const Shape& shape, DType dtype, const std::string& name,
                            double scale = 1.0) {
  const PhiloxKey key = make_key(7, RandomPurpose::kTest, name);
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = scale * philox_normal(key, 0, i);
  return Tensor::from(shape, values, dtype);
}

inline Tensor ints(const Shape& shape, std::vector<int32_t> values) {
  return Tensor::from_i32(shape, values);
}

struct OpInputs {
  DType dtype = DType::kF64;
  std::vector<Var> x;
  std::vector<std::unique_ptr<TensorWeight>> w;
};

struct OpCase {
  std::string name;
  std::vector<Shape> inputs, weights;
  std::function<Var(OpInputs&)> run;
  std::vector<bool> wide_inputs = {};  // in wide_of(dtype) instead of dtype
  bool wide_weights = false;
  double weight_scale = 1.0;
  double narrow_tolerance =
      0.03;                  // largest error of bf16 against f64, relative to the largest entry
  bool skip_narrow = false;  // discrete choices differ between precisions
  bool is_loss = false;      // backward starts here, with 1
};

inline bool is_wide(const OpCase& c, size_t i) {
  return i < c.wide_inputs.size() && c.wide_inputs[i];
}

inline OpInputs make_inputs(const OpCase& c, DType dtype) {
  OpInputs in{.dtype = dtype};
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    in.x.push_back(Var::leaf(random_tensor(c.inputs[i], is_wide(c, i) ? wide_of(dtype) : dtype,
                                           c.name + std::to_string(i))));
  }
  for (size_t i = 0; i < c.weights.size(); ++i) {
    in.w.push_back(std::make_unique<TensorWeight>(
        random_tensor(c.weights[i], c.wide_weights ? wide_of(dtype) : dtype,
                      c.name + "w" + std::to_string(i), c.weight_scale)));
  }
  return in;
}

}  // namespace orthant::testing
