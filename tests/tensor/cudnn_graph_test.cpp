// SPDX-License-Identifier: Apache-2.0
// The graphs of attention that cuDNN gets, computed on the host, against the CPU backend: in f64,
// where they must agree to rounding, and with every tensor rounded to its type, in bf16.
#include <list>

#include "tests/tensor/cudnn_interpreter.h"

namespace orthant::testing {
namespace {

struct Shape {
  const char* name;
  int64_t batch, length, heads, kv_heads, qk_dim, v_dim;
  std::vector<int> documents = {};  // lengths; empty: not given
  int64_t pad = 0;
};

std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.name; }

// One call's operands, of the model's type, and what the CPU makes of them.
class CudnnGraph : public ::testing::TestWithParam<std::tuple<Shape, DType>> {
 protected:
  CudnnGraph() : s(std::get<0>(GetParam())), model(std::get<1>(GetParam())), scope_(rank_) {
    cpu::isa_scalar::fill_kernels(cpu_);
    call_.error = error_;
    call_.error_size = sizeof(error_);
    if (s.documents.empty()) return;
    int64_t begin = 0;
    for (const int length : s.documents) {
      for (int64_t i = begin; i < begin + length; ++i)
        for (int64_t b = 0; b < s.batch; ++b) starts.set(0, b * s.length + i, double(begin));
      begin += length;
    }
  }
  // Memory of every place, for the part of the call that begins at this sequence and KV head.
  std::map<cudnn::Place, Cells> memory(const cudnn::Graph& graph, int64_t sequence,
                                       int64_t kv_head) {
    std::map<cudnn::Place, Cells> result;
    for (const cudnn::GraphTensor& t : graph.tensors) {
      const int64_t first = cudnn::offset_of(t, sequence, kv_head, s.heads / s.kv_heads);
      if (Array* array = array_of(t.place)) {
        const int64_t stride = array == &starts ? array->cols() : array->view().row_stride;
        result[t.place] = cells_of(*array, stride, first);
      } else if (t.place == cudnn::Place::kDelta || t.place == cudnn::Place::kDqSum) {
        EXPECT_EQ(first, 0);
        auto& lent = lent_.emplace_back(static_cast<size_t>(cudnn::extent_of(t)), std::nan(""));
        result[t.place] = {[&lent](int64_t i) { return lent.at(static_cast<size_t>(i)); },
                           [&lent](int64_t i, double x) { lent.at(static_cast<size_t>(i)) = x; }};
      }
    }
    return result;
  }
  void interpret(const cudnn::AttentionProblem& problem, int64_t sequence, int64_t kv_head) {
    const cudnn::Graph graph =
        problem.backward ? cudnn::backward_graph(problem) : cudnn::forward_graph(problem);
    GraphInterpreter(graph, memory(graph, sequence, kv_head), args().scale, model != DType::kF64)
        .run();
  }
  AttentionArgs args() const {
    return {q.view(), k.view(),   v.view(),
            o.view(), lse.view(), s.documents.empty() ? View{} : starts.view1(),
            s.batch,  s.length,   s.length,
            0,        s.length,   s.length,
            0,        s.heads,    s.kv_heads,
            s.qk_dim, s.v_dim,    0,
            0.3,      0};
  }
  AttentionGradArgs grad_args() const {
    return {args(), dout.view(), dq.view(), dk.view(), dv.view(), 0};
  }
  // `got` against what `compute` writes there on the CPU.
  void expect_cpu(const std::vector<std::pair<const char*, Array*>>& outputs,
                  const std::function<int()>& compute, double factor) {
    std::vector<Array> got;
    for (const auto& [name, array] : outputs) got.push_back(*array);
    ASSERT_EQ(compute(), 0) << error_;
    for (size_t i = 0; i < got.size(); ++i)
      expect_near(
          got[i], [&](int64_t r, int64_t c) { return outputs[i].second->get(r, c); },
          factor * tolerance(got[i].dtype() == DType::kF64 ? model : DType::kBF16),
          outputs[i].first);
  }
  Array heads(int64_t count, int64_t width, int64_t pad, uint64_t seed) const {
    return Array(model, s.batch * s.length, count * width, pad).random(seed, -1.5, 1.5);
  }

  const Shape s;
  const DType model;
  Array q = heads(s.heads, s.qk_dim, s.pad, 1), k = heads(s.kv_heads, s.qk_dim, 2 * s.pad, 2);
  Array v = heads(s.kv_heads, s.v_dim, s.pad, 3), o = heads(s.heads, s.v_dim, 3 * s.pad, 4);
  Array lse = Array(wide_of(model), s.batch* s.length, s.heads, s.pad).constant(7);
  Array starts = Array(DType::kI32, 1, s.batch* s.length);
  Array dout = heads(s.heads, s.v_dim, 2 * s.pad, 5), dq = heads(s.heads, s.qk_dim, s.pad, 6);
  Array dk = heads(s.kv_heads, s.qk_dim, s.pad, 7), dv = heads(s.kv_heads, s.v_dim, s.pad, 8);
  Backend cpu_{};
  BackendCall call_;

 private:
  Array* array_of(cudnn::Place place) {
    const std::map<cudnn::Place, Array*> arrays = {
        {cudnn::Place::kQ, &q},     {cudnn::Place::kK, &k},     {cudnn::Place::kV, &v},
        {cudnn::Place::kO, &o},     {cudnn::Place::kLse, &lse}, {cudnn::Place::kDocStart, &starts},
        {cudnn::Place::kDo, &dout}, {cudnn::Place::kDq, &dq},   {cudnn::Place::kDk, &dk},
        {cudnn::Place::kDv, &dv}};
    const auto found = arrays.find(place);
    return found == arrays.end() ? nullptr : found->second;
  }
  RankContext rank_;
  ContextScope scope_;
  char error_[256] = "";
  std::list<std::vector<double>> lent_;
};

TEST_P(CudnnGraph, ForwardIsTheCpus) {
  const AttentionArgs forward = args();
  interpret(cudnn::problem_of(forward), 0, 0);
  expect_cpu(
      {{"o", &o}, {"lse", &lse}}, [&] { return cpu_.attention(&call_, &forward); }, 2);
}

TEST_P(CudnnGraph, BackwardIsTheCpus) {
  const AttentionArgs forward = args();
  ASSERT_EQ(cpu_.attention(&call_, &forward), 0);
  const AttentionGradArgs backward = grad_args();
  for (const bool any_order : {false, true}) {
    for (Array* output : {&dq, &dk, &dv}) output->constant(9);
    interpret(cudnn::problem_of(backward, any_order), 0, 0);
    expect_cpu(
        {{"dq", &dq}, {"dk", &dk}, {"dv", &dv}},
        [&] { return cpu_.attention_grad(&call_, &backward); }, 4);
  }
}

TEST_P(CudnnGraph, PartsOfACallMakeTheWhole) {
  const AttentionArgs forward = args();
  ASSERT_EQ(cpu_.attention(&call_, &forward), 0);
  const AttentionGradArgs backward = grad_args();
  const cudnn::AttentionProblem whole = cudnn::problem_of(backward, false);
  for (Array* output : {&dq, &dk, &dv}) output->constant(9);
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t h = 0; h < s.kv_heads; ++h) interpret(cudnn::problem_of(whole, {1, 1}), b, h);
  expect_cpu(
      {{"dq", &dq}, {"dk", &dk}, {"dv", &dv}},
      [&] { return cpu_.attention_grad(&call_, &backward); }, 4);
}

// The node that cuDNN tells apart attention by.
TEST(CudnnGraphContent, SumsDqInMemoryOnlyInAnyOrder) {
  cudnn::AttentionProblem p;
  p.backward = true;
  p.batch = p.length = p.heads = p.kv_heads = p.qk_dim = p.v_dim = 8;
  for (const bool any_order : {false, true}) {
    p.any_order = any_order;
    bool found = false;
    for (const cudnn::GraphTensor& tensor : cudnn::backward_graph(p).tensors)
      found = found || tensor.place == cudnn::Place::kDqSum;
    EXPECT_EQ(found, any_order);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, CudnnGraph,
    ::testing::Combine(::testing::Values(Shape{"one_token", 2, 1, 2, 2, 8, 8},
                                         Shape{"heads", 2, 9, 3, 3, 8, 16},
                                         Shape{"grouped", 2, 13, 6, 2, 16, 8, {}, 4},
                                         Shape{"latent", 1, 17, 4, 4, 24, 16, {}, 2},
                                         Shape{"documents", 2, 20, 4, 2, 8, 8, {5, 1, 14}, 2},
                                         Shape{"one_key_head", 2, 11, 4, 1, 8, 8, {4, 7}}),
                       ::testing::Values(DType::kF64, DType::kBF16)),
    [](const auto& info) {
      return std::string(std::get<0>(info.param).name) + "_" +
             std::string(name_of(std::get<1>(info.param)));
    });

}  // namespace
}  // namespace orthant::testing
