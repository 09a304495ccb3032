// SPDX-License-Identifier: Apache-2.0
// Whole models on a CUDA device against the same on the CPU, which the layout tests hold to the
// scalar reference: losses, norms, gradients, and weights and moments after several updates.
// Skipped where there is no device.
#include <gtest/gtest.h>

#include "tensor/plugin.h"
#include "tests/layouts/engine_run.h"
#include "tests/layouts/worst.h"

namespace orthant::testing {
namespace {

constexpr const char* kModels[] = {"dense_gqa", "dense_tied_deep", "moe", "moe_normalized_tied",
                                   "moe_deep"};

Variant on_device(Variant variant) {
  variant.config.device = "cuda";
  return variant;
}

double total_loss(const StepResult& step) { return step.objective_loss + step.balance_loss; }

void expect_steps(Worst& worst, const EngineRun& got, const EngineRun& want, size_t steps,
                  const std::string& where) {
  ASSERT_EQ(got.steps.size(), want.steps.size()) << where;
  for (size_t i = 0; i < steps; ++i) {
    const std::string at = concat(where, " step ", i + 1);
    const StepResult &g = got.steps[i], &w = want.steps[i];
    worst.expect_number("loss", total_loss(g), total_loss(w), at);
    worst.expect_number("norm", g.grad_norm, w.grad_norm, at);
    EXPECT_EQ(g.count, w.count) << at;
    EXPECT_EQ(g.routed_tokens, w.routed_tokens) << at;
    EXPECT_EQ(g.expert_counts, w.expert_counts) << at;
  }
}

void expect_run(Worst& worst, const EngineRun& got, const EngineRun& want,
                const std::string& where) {
  expect_steps(worst, got, want, want.steps.size(), where);
  worst.expect_values("gradients", got.gradients, want.gradients, where);
  worst.expect_values("weights", got.weights, want.weights, where);
  worst.expect_values("m", got.m, want.m, where);
  worst.expect_values("v", got.v, want.v, where);
  EXPECT_EQ(got.choices, want.choices) << where;
}

class GpuEngine : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::string why_not;
    if (!try_cuda_backend(why_not)) GTEST_SKIP() << why_not;
  }
  const Variant& variant() const { return find_variant(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Models, GpuEngine, ::testing::ValuesIn(kModels),
                         [](const auto& param) { return std::string(param.param); });

LayoutOptions sgd() { return {.optimizer = "sgd", .learning_rate = 0.3, .gradients = true}; }
LayoutOptions adamw() { return {.optimizer = "adamw", .learning_rate = 1e-3, .gradients = true}; }

TEST_P(GpuEngine, Fp64EqualsTheCpu) {
  Worst worst(1e-10);
  for (const LayoutOptions& options : {sgd(), adamw()}) {
    const EngineRun want = run_on_threads(variant(), options, 1);
    const EngineRun got = run_on_threads(on_device(variant()), options, 1);
    expect_run(worst, got, want, concat(GetParam(), " ", options.optimizer));
  }
}

// With the expert choices of the run in f64; one step, and the weights after three.
TEST_P(GpuEngine, Fp32EqualsFp64OfTheCpu) {
  Worst worst(1e-5);
  LayoutOptions options = sgd();
  const EngineRun want = run_on_threads(variant(), options, 1);
  options.precision = "fp32";
  options.replay = &want.choices;
  const EngineRun got = run_on_threads(on_device(variant()), options, 1);
  expect_steps(worst, got, want, 1, GetParam());
  worst.expect_values("gradients", got.gradients, want.gradients, GetParam());
  worst.expect_values("weights", got.weights, want.weights, GetParam());
}

// The same rows again and again, so that there is something to learn.
TEST_P(GpuEngine, Bf16LossFollowsFp64OfTheCpu) {
  LayoutOptions options{.learning_rate = 2e-3, .steps = 20, .repeat_data = true};
  const EngineRun want = run_on_threads(variant(), options, 1);
  options.precision = "bf16";
  const EngineRun got = run_on_threads(on_device(variant()), options, 1);
  Worst worst(2e-2);
  for (size_t i = 0; i < want.steps.size(); ++i)
    worst.expect_number("loss", total_loss(got.steps[i]), total_loss(want.steps[i]),
                        concat("step ", i + 1));
  EXPECT_LT(total_loss(got.steps.back()), 0.8 * total_loss(got.steps.front()));
}

// What docs/backends.md owes: the same call gives the same bits, so that neither a second run nor
// recomputation nor ranks that divide the lanes change any.
TEST_P(GpuEngine, AgainRecomputedAndOnRanksTheSameBits) {
  for (const char* precision : {"fp64", "bf16"}) {
    LayoutOptions options{.precision = precision, .gradients = true};
    const Variant device = on_device(variant());
    const NamedValues want = bits_of(run_on_threads(device, options, 1));
    for (const int ranks : {1, 2, 4})
      EXPECT_EQ(first_bit_difference(bits_of(run_on_threads(device, options, ranks)), want), "")
          << precision << ", " << ranks << " ranks";
    options.recompute = "full";
    EXPECT_EQ(first_bit_difference(bits_of(run_on_threads(device, options, 1)), want), "")
        << precision << ", recomputed";
  }
}

}  // namespace
}  // namespace orthant::testing
