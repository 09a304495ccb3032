// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "optim/optimizer.h"
#include "optim/schedule.h"

namespace orthant {
namespace {

TEST(ScheduleTest, WarmsUpAndEndsAtTheMinimum) {
  const ScheduleConfig cosine{.shape = ScheduleShape::kCosine,
                              .warmup_steps = 10,
                              .total_steps = 110,
                              .min_learning_rate = 0.1};
  EXPECT_DOUBLE_EQ(learning_rate_at(cosine, 1.0, 1), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(cosine, 1.0, 10), 1.0);
  EXPECT_NEAR(learning_rate_at(cosine, 1.0, 60), 0.55, 1e-12);
  EXPECT_DOUBLE_EQ(learning_rate_at(cosine, 1.0, 110), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(cosine, 1.0, 1000), 0.1);
  const ScheduleConfig linear{.shape = ScheduleShape::kLinear,
                              .warmup_steps = 0,
                              .total_steps = 100,
                              .min_learning_rate = 0.0};
  EXPECT_DOUBLE_EQ(learning_rate_at(linear, 2.0, 25), 1.5);
  // A warm-up that is longer than the schedule.
  ScheduleConfig late{.warmup_steps = 10, .total_steps = 4, .min_learning_rate = 0.1};
  using enum ScheduleShape;
  for (const ScheduleShape shape : {kCosine, kLinear, kWsd}) {
    late.shape = shape;
    EXPECT_DOUBLE_EQ(learning_rate_at(late, 1.0, 3), 0.3) << static_cast<int>(shape);
    for (const int64_t step : {4, 5, 10, 11})
      EXPECT_DOUBLE_EQ(learning_rate_at(late, 1.0, step), 0.1)
          << static_cast<int>(shape) << ", step " << step;
  }
  for (const ScheduleShape shape : {kConstant, kStep}) {
    late.shape = shape;
    EXPECT_DOUBLE_EQ(learning_rate_at(late, 1.0, 5), 0.5) << static_cast<int>(shape);
  }
  const ScheduleConfig constant{
      .shape = ScheduleShape::kConstant, .warmup_steps = 4, .total_steps = 8};
  EXPECT_DOUBLE_EQ(learning_rate_at(constant, 2.0, 2), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(constant, 2.0, 800), 2.0);
}

TEST(ScheduleTest, WarmsUpStaysAndDecays) {
  ScheduleConfig wsd{.shape = ScheduleShape::kWsd,
                     .warmup_steps = 10,
                     .total_steps = 100,
                     .min_learning_rate = 0.2,
                     .decay_fraction = 0.4};
  EXPECT_DOUBLE_EQ(learning_rate_at(wsd, 1.0, 5), 0.5);
  for (const int64_t step : {10, 11, 60}) EXPECT_DOUBLE_EQ(learning_rate_at(wsd, 1.0, step), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(wsd, 1.0, 70), 0.2 + 0.8 * 0.75);
  EXPECT_DOUBLE_EQ(learning_rate_at(wsd, 1.0, 100), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(wsd, 1.0, 500), 0.2);
  wsd.decay_shape = ScheduleShape::kOneMinusSqrt;
  EXPECT_DOUBLE_EQ(learning_rate_at(wsd, 1.0, 70), 0.2 + 0.8 * 0.5);
  wsd.decay_shape = ScheduleShape::kCosine;
  EXPECT_NEAR(learning_rate_at(wsd, 1.0, 80), 0.2 + 0.8 * 0.5, 1e-12);
  EXPECT_NEAR(learning_rate_at(wsd, 1.0, 70), 0.2 + 0.8 * 0.5 * (1 + std::sqrt(0.5)), 1e-12);
  wsd.decay_fraction = 1.0;  // the decay never begins before the warm-up's end
  EXPECT_DOUBLE_EQ(learning_rate_at(wsd, 1.0, 10), 1.0);
  EXPECT_LT(learning_rate_at(wsd, 1.0, 11), 1.0);
}

TEST(ScheduleTest, StepsDownAtThePoints) {
  ScheduleConfig step{.shape = ScheduleShape::kStep, .warmup_steps = 2, .total_steps = 1000};
  EXPECT_DOUBLE_EQ(learning_rate_at(step, 2.0, 1), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(step, 2.0, 600), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(step, 2.0, 601), 2.0 * 0.316);
  EXPECT_DOUBLE_EQ(learning_rate_at(step, 2.0, 900), 2.0 * 0.316);
  EXPECT_DOUBLE_EQ(learning_rate_at(step, 2.0, 901), 2.0 * 0.316 * 0.316);
  EXPECT_DOUBLE_EQ(learning_rate_at(step, 2.0, 5000), 2.0 * 0.316 * 0.316);
  step.step_points = {0.5};
  step.step_factor = 0.1;
  EXPECT_DOUBLE_EQ(learning_rate_at(step, 2.0, 501), 0.2);
  step.min_learning_rate = 0.7;
  EXPECT_DOUBLE_EQ(learning_rate_at(step, 2.0, 501), 0.7);
  step.step_points = {0.5, 0.5};
  EXPECT_THROW(step.validate(), std::runtime_error);
}

// The formula of specs and paper, element by element, on a bf16 parameter with an f32 master.
TEST(AdamwTest, FollowsTheFormulaAndRoundsTheMasterIntoTheValue) {
  const OptimizerConfig config{
      .learning_rate = 0.01, .betas = {0.9, 0.95}, .eps = 1e-8, .weight_decay = 0.1};
  const Tensor value = Tensor::from({3}, {{0.5, -1.25, 3.0}}, DType::kBF16);
  const OptimizerSpan span = make_span(config, value, true);
  std::vector<double> w = {0.5, -1.25, 3.0}, m(3, 0.0), v(3, 0.0);
  for (int step = 1; step <= 5; ++step) {
    const std::vector<double> g = {0.3 * step, -0.2, 1e-3};
    optimizer_step(config, span, Tensor::from({3}, g, DType::kF32), 0.01, 0.5, step);
    for (size_t i = 0; i < 3; ++i) {
      const double scaled = 0.5 * g[i];
      m[i] = 0.9 * m[i] + 0.1 * scaled;
      v[i] = 0.95 * v[i] + 0.05 * scaled * scaled;
      const double update =
          m[i] / (1 - std::pow(0.9, step)) / (std::sqrt(v[i] / (1 - std::pow(0.95, step))) + 1e-8);
      w[i] -= 0.01 * (update + 0.1 * w[i]);
    }
  }
  const std::vector<double> master = span.master.to_doubles();
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(master[i], w[i], 2e-6);
  EXPECT_EQ(value.to_doubles(), span.master.to(DType::kBF16).to_doubles());
}

TEST(AdamwTest, MasterIsTheValueItselfWhereTypesAreEqual) {
  const Tensor value = Tensor::from({2}, {{1.0, 2.0}}, DType::kF32);
  const OptimizerSpan span = make_span({}, value, false);
  EXPECT_TRUE(span.master.shares_storage_with(value));
  optimizer_step({.weight_decay = 1.0}, span, Tensor::zeros({2}, DType::kF32), 0.1, 1.0, 1);
  EXPECT_EQ(value.to_doubles(), (std::vector<double>{1.0, 2.0})) << "1-D tensors do not decay";
}

TEST(SgdTest, SubtractsTheScaledGradient) {
  const OptimizerConfig config{.kind = OptimizerKind::kSgd, .weight_decay = 0.5};
  const Tensor value = Tensor::from({2}, {{1.0, -2.0}}, DType::kF64);
  const OptimizerSpan span = make_span(config, value, true);
  EXPECT_FALSE(span.m.defined());
  optimizer_step(config, span, Tensor::from({2}, {{4.0, 8.0}}, DType::kF64), 0.1, 0.25, 1);
  EXPECT_NEAR(value.to_doubles()[0], 1.0 - 0.1 * (1.0 + 0.5), 1e-15);
  EXPECT_NEAR(value.to_doubles()[1], -2.0 - 0.1 * (2.0 - 1.0), 1e-15);
}

}  // namespace
}  // namespace orthant
