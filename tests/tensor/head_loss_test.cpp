// SPDX-License-Identifier: Apache-2.0
// The head's loss over more rows than one chunk has: weights of rows, and teachers of rows.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "tensor/autograd/soft_loss.h"
#include "tests/tensor/op_case.h"

namespace orthant::testing {
namespace {

// Powers of two, so that a row's loss and gradient are multiplied without rounding; more rows than
// one chunk has.
TEST(HeadLossTest, WeightsScaleRowsAndNothingElse) {
  constexpr int64_t kRows = 1100;
  std::vector<double> weights;
  std::vector<int32_t> labels;
  for (int64_t n = 0; n < kRows; ++n) {
    weights.push_back(n % 7 == 3 ? 0.0 : std::ldexp(n % 2 ? -1.0 : 1.0, static_cast<int>(n % 5)));
    labels.push_back(n % 11 == 0 ? -1 : static_cast<int32_t>(n % 6));
  }
  for (const DType dtype : {DType::kF64, DType::kBF16}) {
    const auto run = [&](const Tensor& row_weights, const Var& x) {
      TensorWeight head(random_tensor({6, 8}, dtype, "head"));
      const HeadLoss loss = head_loss(x, head, ints({kRows}, labels), {}, row_weights);
      backward(loss.sum, Tensor::from({1}, {{1.0}}, wide_of(dtype)));
      return std::pair(loss, head.grad().to_doubles());
    };
    const Tensor rows = random_tensor({kRows, 8}, dtype, "rows");
    const Var x = Var::leaf(rows), plain_x = Var::leaf(rows), ones_x = Var::leaf(rows);
    const auto [loss, dw] = run(Tensor::from({kRows}, weights, DType::kF64), x);
    const auto [plain, plain_dw] = run({}, plain_x);
    EXPECT_EQ(loss.unweighted.to_doubles(), plain.losses.to_doubles());
    EXPECT_EQ(plain.unweighted.to_doubles(), plain.losses.to_doubles());
    std::vector<double> want = plain.losses.to_doubles(), want_dx = plain_x.grad().to_doubles();
    double sum = 0;
    for (size_t n = 0; n < kRows; ++n) {
      sum += want[n] *= weights[n];
      for (size_t i = 0; i < 8; ++i) want_dx[n * 8 + i] *= weights[n];
    }
    EXPECT_EQ(loss.losses.to_doubles(), want);
    EXPECT_NEAR(loss.sum.value().to_doubles()[0], sum, 1e-3);
    EXPECT_EQ(x.grad().to_doubles(), want_dx);
    const std::vector<double> ones(kRows, 1.0);
    EXPECT_EQ(run(Tensor::from({kRows}, ones, DType::kF32), ones_x).second, plain_dw);
    EXPECT_EQ(ones_x.grad().to_doubles(), plain_x.grad().to_doubles());
  }
  TensorWeight head(random_tensor({6, 8}, DType::kF64, "head"));
  const Var x(random_tensor({2, 8}, DType::kF64, "x"));
  EXPECT_THROW(head_loss(x, head, ints({2}, {0, 1}), {}, Tensor::zeros({3}, DType::kF64)), Error);
  EXPECT_THROW(head_loss(x, head, ints({2}, {0, 1}), {}, ints({2}, {1, 1})), Error);
}

// More rows than one chunk has, each with a teacher of its own; one after the other they give the
// same.
TEST(SoftLossTest, RowsHaveTheirOwnTeachers) {
  constexpr int64_t kRows = 1500, kVocab = 6, kTokens = 2;
  TensorWeight head(random_tensor({kVocab, 4}, DType::kF64, "head"));
  const Tensor rows = random_tensor({kRows, 4}, DType::kF64, "rows");
  std::vector<int32_t> ids, labels;
  for (int64_t r = 0; r < kRows; ++r) {
    ids.push_back(static_cast<int32_t>(r % kVocab));
    ids.push_back(static_cast<int32_t>((r + 1 + r % 3) % kVocab));
    labels.push_back(static_cast<int32_t>(r % 7) - 1);
  }
  SoftTargets targets{.temperature = 1.3, .forward = 0.4, .reverse = 0.6, .label_weight = 0.5};
  targets.ids = ints({kRows, kTokens}, ids);
  targets.log_probs = random_tensor({kRows, kTokens + 1}, DType::kF64, "log_probs");
  const auto run = [&](int64_t begin, int64_t end) {
    SoftTargets some = targets;
    some.ids = targets.ids.slice(begin, end);
    some.log_probs = targets.log_probs.slice(begin, end);
    const Var x = Var::leaf(rows.slice(begin, end).clone());
    const std::vector<int32_t> own(labels.begin() + begin, labels.begin() + end);
    const HeadLoss loss = head_loss(x, head, ints({end - begin}, own), {}, {}, {}, &some);
    backward(loss.sum, Tensor::from({1}, {{1.0}}, DType::kF64));
    return std::pair(loss.losses.to_doubles(), x.grad().to_doubles());
  };
  const auto [losses, dx] = run(0, kRows);
  for (const int64_t r : {0, 1, 1023, 1024, 1400, 1499}) {
    const auto [loss, slope] = run(r, r + 1);
    EXPECT_EQ(losses[static_cast<size_t>(r)], loss[0]) << r;
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(dx[static_cast<size_t>(r) * 4 + i], slope[i]) << r;
  }
}

}  // namespace
}  // namespace orthant::testing
