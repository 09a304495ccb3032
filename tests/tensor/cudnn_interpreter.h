// SPDX-License-Identifier: Apache-2.0
// Computes a graph of tensor/cuda/cudnn/graph.h on the host, node by node as cuDNN defines them:
// its mathematics, strides and types without a GPU.
#pragma once

#include <cmath>
#include <functional>
#include <map>
#include <vector>

#include "tensor/cuda/cudnn/graph.h"
#include "tests/tensor/cpu_testing.h"

namespace orthant::testing {

namespace cudnn = cuda::cudnn;

// Memory of the call from its first element on: read and written by element.
struct Cells {
  std::function<double(int64_t)> get;
  std::function<void(int64_t, double)> set;
};
// Elements of an Array from (0, 0) on, padding included: a tensor that touches padding fails.
inline Cells cells_of(Array& array, int64_t stride, int64_t first = 0) {
  const auto at = [=, &array](int64_t i) {
    i += first;
    EXPECT_LT(i % stride, array.cols()) << "the graph reaches between rows";
    EXPECT_LT(i / stride, array.rows()) << "the graph reaches behind the last row";
    return std::pair{i / stride, std::min(i % stride, array.cols() - 1)};
  };
  return {[=, &array](int64_t i) { return array.get(at(i).first, at(i).second); },
          [=, &array](int64_t i, double x) { array.set(at(i).first, at(i).second, x); }};
}

class GraphInterpreter {
 public:
  // `narrow`: elements are rounded to their type as the device does; else all is f64.
  GraphInterpreter(const cudnn::Graph& graph, std::map<cudnn::Place, Cells> memory, double scale,
                   bool narrow)
      : graph_(graph), memory_(std::move(memory)), scale_(scale), narrow_(narrow) {
    for (const cudnn::GraphTensor& tensor : graph.tensors)
      values_.emplace_back(static_cast<size_t>(cudnn::extent_of(tensor)), std::nan(""));
  }
  void run() {
    for (const cudnn::GraphNode& node : graph_.nodes) compute(node);
  }

 private:
  using Dims = cudnn::Dims;
  using Op = cudnn::Op;

  const cudnn::GraphTensor& tensor(int index) const {
    return graph_.tensors[static_cast<size_t>(index)];
  }
  // The element that stands at `at` of a result of dims `of`, repeated where there are fewer.
  int64_t offset(int index, const Dims& at, const Dims& of) const {
    const cudnn::GraphTensor& t = tensor(index);
    int64_t sum = 0;
    for (size_t d = 0; d < 4; ++d) {
      EXPECT_EQ(of[d] % t.dims[d], 0);
      sum += at[d] * t.dims[d] / of[d] * t.strides[d];
    }
    return sum;
  }
  double read_memory(int index, int64_t offset) const {
    switch (tensor(index).place) {
      case cudnn::Place::kInside:
        return values_[static_cast<size_t>(index)][static_cast<size_t>(offset)];
      case cudnn::Place::kScale:
        return scale_;
      case cudnn::Place::kOne:
        return 1;
      case cudnn::Place::kMasked:
        return cudnn::kMaskedScore;
      default:
        return memory_.at(tensor(index).place).get(offset);
    }
  }
  double read(int index, const Dims& at, const Dims& of) const {
    return read_memory(index, offset(index, at, of));
  }
  double rounded(cudnn::Element element, double x) const {
    if (!narrow_) return x;
    if (element == cudnn::Element::kBF16)
      return static_cast<double>(static_cast<float>(bf16(static_cast<float>(x))));
    return element == cudnn::Element::kF32 ? static_cast<double>(static_cast<float>(x)) : x;
  }
  void write_memory(int index, int64_t offset, double x) {
    x = rounded(tensor(index).element, x);
    if (tensor(index).place == cudnn::Place::kInside) {
      values_[static_cast<size_t>(index)][static_cast<size_t>(offset)] = x;
    } else {
      memory_.at(tensor(index).place).set(offset, x);
    }
  }
  template <class F>
  static void for_each(const Dims& dims, F f) {
    Dims at;
    for (at[0] = 0; at[0] < dims[0]; ++at[0])
      for (at[1] = 0; at[1] < dims[1]; ++at[1])
        for (at[2] = 0; at[2] < dims[2]; ++at[2])
          for (at[3] = 0; at[3] < dims[3]; ++at[3]) f(at);
  }

  void compute(const cudnn::GraphNode& node) {
    switch (node.op) {
      case Op::kReshape:
        return reshape(node);
      case Op::kReduceMax:
      case Op::kReduceSum:
        return reduce(node);
      default:
        for_each(tensor(node.y).dims, [&](const Dims& at) {
          const Dims& dims = tensor(node.y).dims;
          write_memory(node.y, offset(node.y, at, dims),
                       node.op == Op::kMatmul ? product(node, at) : pointwise(node, at, dims));
        });
    }
  }
  // The memory stays, only what it means changes.
  void reshape(const cudnn::GraphNode& node) {
    const int64_t extent = cudnn::extent_of(tensor(node.y));
    ASSERT_EQ(extent, cudnn::extent_of(tensor(node.x)));
    for_each(tensor(node.y).dims, [&](const Dims& at) {
      const int64_t where = offset(node.y, at, tensor(node.y).dims);
      write_memory(node.y, where, read_memory(node.x, where));
    });
  }
  void reduce(const cudnn::GraphNode& node) {
    const Dims& from = tensor(node.x).dims;
    std::map<int64_t, double> sums;  // by offset in y
    for_each(from, [&](const Dims& at) {
      const double x = read(node.x, at, from);
      const auto [found, is_new] = sums.emplace(offset(node.y, at, from), x);
      if (is_new) return;
      found->second = node.op == Op::kReduceMax ? std::fmax(found->second, x) : found->second + x;
    });
    for (const auto& [where, sum] : sums) write_memory(node.y, where, sum);
  }
  double product(const cudnn::GraphNode& node, const Dims& at) const {
    const Dims &x = tensor(node.x).dims, &b = tensor(node.b).dims, &y = tensor(node.y).dims;
    EXPECT_EQ(x[3], b[2]);
    double sum = 0;
    for (int64_t k = 0; k < x[3]; ++k)
      sum += read(node.x, {at[0], at[1], at[2], k}, {y[0], y[1], y[2], x[3]}) *
             read(node.b, {at[0], at[1], k, at[3]}, {y[0], y[1], x[3], y[3]});
    return sum;
  }
  double pointwise(const cudnn::GraphNode& node, const Dims& at, const Dims& of) const {
    if (node.op == Op::kIndex) return static_cast<double>(at[static_cast<size_t>(node.axis)]);
    const double x = read(node.x, at, of);
    const double b = node.b >= 0 ? read(node.b, at, of) : 0;
    switch (node.op) {
      case Op::kMultiply:
        return x * b;
      case Op::kAdd:
        return x + b;
      case Op::kSubtract:
        return x - b;
      case Op::kDivide:
        return x / b;
      case Op::kExp:
        return std::exp(x);
      case Op::kLog:
        return std::log(x);
      case Op::kGreaterEqual:
        return x >= b ? 1 : 0;
      case Op::kSelect:
        return read(node.mask, at, of) != 0 ? x : b;
      default:
        return x;
    }
  }

  const cudnn::Graph& graph_;
  std::map<cudnn::Place, Cells> memory_;
  double scale_;
  bool narrow_;
  std::vector<std::vector<double>> values_;  // of tensors inside
};

}  // namespace orthant::testing
