// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "base/context.h"
#include "base/error.h"
#include "tests/tensor/op_case.h"

namespace orthant::testing {
namespace {

TEST(AutogradTest, RecomputeGivesTheSameBitsAndRunsTwice) {
  TensorWeight a(random_tensor({8, 6}, DType::kF32, "a")),
      b(random_tensor({6, 4}, DType::kF32, "b"));
  int runs = 0, recomputed = 0;
  const auto f = [&](const Var& v) {
    ++runs;
    recomputed += is_recomputing();
    return linear(swiglu(linear(v, a)), b);
  };
  const Tensor x = random_tensor({4, 6}, DType::kF32, "x"),
               dy = random_tensor({4, 6}, DType::kF32, "dy");
  const Var direct = Var::leaf(x);
  backward(f(direct), dy);
  const std::vector<double> want = direct.grad().to_doubles(), want_a = a.grad().to_doubles();
  a.clear_grad();
  b.clear_grad();
  const Var again = Var::leaf(x);
  backward(recompute(f, again), dy);
  EXPECT_EQ(again.grad().to_doubles(), want);
  EXPECT_EQ(a.grad().to_doubles(), want_a);
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(recomputed, 1);
}

TEST(AutogradTest, RecomputeWorksWhereTheInputNeedsNoGradient) {
  TensorWeight w(random_tensor({3, 4}, DType::kF64, "w"));
  const Var y = recompute([&](const Var& v) { return linear(v, w); },
                          Var(random_tensor({2, 4}, DType::kF64, "x")));
  backward(y, random_tensor({2, 3}, DType::kF64, "dy"));
  EXPECT_TRUE(w.grad().defined());
}

// In a scope, what remake() makes is given back behind it, and made again once, also for a queue.
TEST(AutogradTest, RemakeGivesTheSameBitsAndKeepsNothing) {
  const int64_t bytes = 32 * 8 * size_of(DType::kF32);
  const auto held = [] { return context().ledger->total_bytes(); };
  TensorWeight a(random_tensor({16, 6}, DType::kF32, "a")),
      b(random_tensor({6, 8}, DType::kF32, "b"));
  const Tensor x = random_tensor({32, 6}, DType::kF32, "x"),
               dy = random_tensor({32, 6}, DType::kF32, "dy");
  int runs = 0;
  const auto f = [&runs](const Var& v) {
    ++runs;
    return swiglu(v);
  };
  const Var direct = Var::leaf(x);
  backward(linear(remake(f, linear(direct, a)), b), dy);
  EXPECT_EQ(runs, 1);
  const std::vector<double> want = direct.grad().to_doubles(), want_b = b.grad().to_doubles();
  a.clear_grad();
  b.clear_grad();
  const int64_t before = held();
  const Var plain = linear(remake(f, linear(Var::leaf(x), a)), b);
  const int64_t kept = held() - before;
  const Var again = Var::leaf(x);
  Var y;
  {
    const RemakeScope scope;
    y = linear(remake(f, linear(again, a)), b);
  }
  EXPECT_EQ(held() - before, 2 * kept - bytes);
  WeightGradQueue queue;
  backward(y, dy, &queue);
  EXPECT_EQ(runs, 3);
  queue.run();
  EXPECT_EQ(runs, 4);
  EXPECT_EQ(again.grad().to_doubles(), want);
  EXPECT_EQ(b.grad().to_doubles(), want_b);
}

TEST(AutogradTest, QueueHoldsWeightGradientsBack) {
  TensorWeight w(random_tensor({3, 4}, DType::kF64, "w"));
  const Var x = Var::leaf(random_tensor({2, 4}, DType::kF64, "x"));
  WeightGradQueue queue;
  backward(linear(x, w), random_tensor({2, 3}, DType::kF64, "dy"), &queue);
  EXPECT_TRUE(x.grad().defined());
  EXPECT_FALSE(w.grad().defined());
  queue.run();
  EXPECT_TRUE(w.grad().defined());
  EXPECT_TRUE(queue.empty());
}

TEST(AutogradTest, BetweenOpsRunsBehindOpsClosuresAndLateWeightGradients) {
  TensorWeight w(random_tensor({3, 4}, DType::kF64, "w"));
  const Tensor dy = random_tensor({2, 3}, DType::kF64, "dy");
  const Var x = Var::leaf(random_tensor({2, 4}, DType::kF64, "x"));
  int outer = 0, inner = 0;
  const BetweenOpsScope outside([&] { ++outer; });
  WeightGradQueue queue;
  {
    const BetweenOpsScope inside([&] { ++inner; });
    const Var y = linear(x, w);
    EXPECT_EQ(inner, 1);
    backward(y, dy, &queue);
    EXPECT_EQ(inner, 2);
    queue.run();
    EXPECT_EQ(inner, 3);
  }
  EXPECT_EQ(outer, 0);
  const NoGradScope no_grad;
  linear(x, w);
  EXPECT_EQ(outer, 1);
}

TEST(AutogradTest, BackwardFreesTheTapeAndWhatItKept) {
  const int64_t before = context().ledger->total_bytes();
  {
    TensorWeight w(random_tensor({64, 64}, DType::kF32, "w"));
    const Var x = Var::leaf(random_tensor({32, 64}, DType::kF32, "x"));
    Var y = x;
    for (int i = 0; i < 10; ++i) y = linear(i ? y : x, w);
    backward(y, random_tensor({32, 64}, DType::kF32, "dy"));
    EXPECT_TRUE(x.grad().defined());
  }
  EXPECT_EQ(context().ledger->total_bytes(), before);
}

TEST(AutogradTest, NoGradScopeRecordsNothing) {
  TensorWeight w(random_tensor({3, 4}, DType::kF64, "w"));
  const NoGradScope no_grad;
  EXPECT_FALSE(linear(Var::leaf(random_tensor({2, 4}, DType::kF64, "x")), w).needs_grad());
}

// With weights that are frozen the tape ends where no input needs a gradient.
TEST(AutogradTest, FrozenWeightsRecordNothingBelowWhatTrains) {
  const auto random = [](const Shape& shape, const char* name) {
    return random_tensor(shape, DType::kF64, name);
  };
  TensorWeight w(random({4, 4}, "w"), false), norm(random({4}, "n"), false);
  TensorWeight experts(random({2, 4, 4}, "e"), false), head(random({5, 4}, "h"), false);
  const auto offsets = std::make_shared<const std::vector<int64_t>>(std::vector<int64_t>{0, 1, 3});
  const std::vector<int32_t> numbers = {1, 0, 3};
  const Tensor ids = Tensor::from_i32({3}, numbers);
  const auto layer = [&](const Var& v) {
    return grouped_linear(rms_norm(linear(v, w), norm, 1e-5), experts, offsets);
  };
  const Var below = recompute(layer, layer(embedding(ids, w)));
  EXPECT_FALSE(below.needs_grad());
  EXPECT_FALSE(head_loss(below, head, ids).sum.needs_grad());
  // Above a weight that trains, gradients go through.
  TensorWeight trains(random({4, 4}, "t"));
  const Var loss = head_loss(recompute(layer, linear(below, trains)), head, ids).sum;
  backward(loss, Tensor::from({1}, {{1.0}}, DType::kF64));
  EXPECT_GT(std::abs(trains.grad().to_doubles()[0]), 0.0);
  for (const TensorWeight* weight : {&w, &norm, &experts, &head})
    EXPECT_FALSE(weight->grad().defined());
}

// A frozen product's input is what only the weight's gradient would read.
TEST(AutogradTest, FrozenProductsKeepNoInput) {
  const auto offsets = std::make_shared<const std::vector<int64_t>>(std::vector<int64_t>{0, 2});
  for (const bool trainable : {true, false}) {
    TensorWeight w(random_tensor({3, 4}, DType::kF64, "w"), trainable);
    TensorWeight experts(random_tensor({1, 4, 3}, DType::kF64, "e"), trainable);
    const Var x = Var::leaf(random_tensor({2, 4}, DType::kF64, "x"));
    Var h = scale(x, 2.0);
    Var inner = linear(h, w);
    const Var y = grouped_linear(inner, experts, offsets);
    const Tensor values[] = {h.value(), inner.value()};
    h = inner = Var();
    for (const Tensor& value : values) EXPECT_EQ(value.is_unique(), !trainable);
    backward(y, random_tensor({2, 4}, DType::kF64, "dy"));
    EXPECT_TRUE(x.grad().defined());
  }
}

TEST(AutogradTest, WrongShapesSayWhatWasWanted) {
  TensorWeight w(random_tensor({3, 4}, DType::kF64, "w"));
  try {
    linear(Var(random_tensor({2, 5}, DType::kF64, "x")), w);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInternal);
    EXPECT_NE(std::string(error.what()).find("f64 [2, 5] on cpu, f64 [3, 4] on cpu"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace orthant::testing
