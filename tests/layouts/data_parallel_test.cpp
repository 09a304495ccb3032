// SPDX-License-Identifier: Apache-2.0
// Every data-parallel size and accumulation computes what one plain rank computes: to tolerance
// against the reference model, and to the bit against each other.
#include <gtest/gtest.h>

#include <cmath>
#include <iostream>

#include "base/error.h"
#include "parallel/comm/threads/run_ranks.h"
#include "tensor/autograd/var.h"
#include "tests/layouts/reference_run.h"
#include "tests/layouts/worst.h"
#include "trainer/pretrain_engine.h"

namespace orthant::testing {
namespace {

constexpr int kDataParallelSizes[] = {1, 2, 4, 8};

LayoutOptions sgd() { return {.optimizer = "sgd", .learning_rate = 0.3, .gradients = true}; }
LayoutOptions adamw() { return {.optimizer = "adamw", .learning_rate = 1e-3, .gradients = true}; }

double share_that_differs(const StepChoices& got, const StepChoices& want, size_t step) {
  double all = 0, different = 0;
  for (size_t row = 0; row < want[step].size(); ++row)
    for (size_t layer = 0; layer < want[step][row].size(); ++layer)
      for (size_t i = 0; i < want[step][row][layer].size(); ++i) {
        all += 1;
        different += got[step][row][layer][i] != want[step][row][layer][i];
      }
  return all > 0 ? different / all : 0.0;
}

class DataParallel : public ::testing::TestWithParam<std::string> {
 protected:
  const Variant& variant() const { return find_variant(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Models, DataParallel,
                         ::testing::Values("dense_gqa", "dense_tied_deep", "moe",
                                           "moe_normalized_tied", "moe_deep", "moe_v2_lite",
                                           "moe_v2", "moe_v3", "moe_v3_mtp"),
                         [](const auto& param) { return param.param; });

TEST_P(DataParallel, IsWithinTheLimitsOfLayoutTests) {
  const RunPlan plan = plan_of(variant(), {}, 1);
  const RunConfig& config = plan.config();
  EXPECT_LE(total_parameters(config.model), 60000);
  EXPECT_LE(config.model.num_hidden_layers, 8);
  EXPECT_LE(config.batch.global_batch_size * config.batch.sequence_length, 128);
  size_t elements = 0;
  for (const auto& [name, values] : initial_weights(variant())) elements += values.size();
  EXPECT_EQ(static_cast<int64_t>(elements), total_parameters(config.model));
}

TEST_P(DataParallel, Fp64EqualsReference) {
  Worst worst(1e-10);
  for (int dp : kDataParallelSizes) {
    expect_equals_reference(worst, variant(), sgd(), dp);
    expect_equals_reference(worst, variant(), adamw(), dp);
  }
}

// The gradients of a small step are what the tests above compare: a coefficient that is wrong by a
// little must not hide in the tolerance of a larger sum.
TEST_P(DataParallel, EveryTensorHasAGradient) {
  const ReferenceRun& want = reference_run(variant(), sgd());
  for (const auto& [name, values] : want.gradients) {
    double largest = 0;
    for (double g : values) largest = std::max(largest, std::abs(g));
    EXPECT_GT(largest, 1e-6) << name;
  }
}

TEST_P(DataParallel, Fp32EqualsReferenceWithItsChoices) {
  Worst worst(1e-5);
  const ReferenceRun& want = reference_run(variant(), sgd());
  LayoutOptions options = sgd();
  options.precision = "fp32";
  options.replay = &want.choices;
  for (int dp : kDataParallelSizes) {
    const EngineRun run = run_on_threads(variant(), options, dp);
    const std::string where = concat(variant().name, " dp ", dp);
    expect_losses(worst, run, want, 1, where);
    worst.expect_values("gradients", run.gradients, want.gradients, where);
    worst.expect_values("weights", run.weights, want.weights, where);
    EXPECT_EQ(run.choices, want.choices) << where;
  }
  options.replay = nullptr;
  const EngineRun free = run_on_threads(variant(), options, 1);
  const double share = share_that_differs(free.choices, want.choices, 0);
  std::cout << "  choices that differ without replay: " << 100 * share << " %\n";
  EXPECT_LE(share, 0.02);
}

// The same rows again and again, so that there is something to learn.
TEST_P(DataParallel, Bf16LossFollowsFp64) {
  LayoutOptions options{.learning_rate = 2e-3, .steps = 20, .repeat_data = true};
  const EngineRun want = run_on_threads(variant(), options, 1);
  options.precision = "bf16";
  const EngineRun run = run_on_threads(variant(), options, 2);
  Worst worst(2e-2);
  const auto loss = [](const StepResult& step) { return step.objective_loss + step.balance_loss; };
  for (size_t i = 0; i < want.steps.size(); ++i)
    worst.expect_number("loss", loss(run.steps[i]), loss(want.steps[i]), concat("step ", i + 1));
  EXPECT_LT(loss(want.steps.back()), 0.8 * loss(want.steps.front()));
}

// Every layout of a case, against dp 1 on one thread.
void expect_same_bits(const Variant& variant, LayoutOptions options) {
  const EngineRun one = run_on_threads(variant, options, 1);
  const NamedValues want = bits_of(one);
  struct Layout {
    int dp, threads;
    const char* recompute;
  };
  constexpr Layout kLayouts[] = {{1, 2, "none"}, {1, 3, "none"}, {2, 1, "none"},
                                 {2, 3, "none"}, {4, 1, "none"}, {4, 2, "none"},
                                 {8, 1, "none"}, {1, 1, "full"}, {2, 2, "full"}};
  for (const Layout& layout : kLayouts) {
    options.recompute = layout.recompute;
    const EngineRun run = run_on_threads(variant, options, layout.dp, layout.threads);
    EXPECT_EQ(first_bit_difference(bits_of(run), want), "")
        << variant.name << " " << options.precision << " dp " << layout.dp << ", " << layout.threads
        << " threads, recompute " << layout.recompute;
    EXPECT_EQ(run.choices, one.choices);
  }
}

TEST_P(DataParallel, EveryLayoutHasTheSameBits) {
  for (const char* precision : {"fp64", "fp32", "bf16"}) {
    expect_same_bits(variant(), {.precision = precision});
  }
}

// Products, attention and sums large enough to be shared out among threads.
TEST(DataParallelBits, ThreadsChangeNothing) {
  const Variant variant = wide_variant();
  for (const char* precision : {"fp64", "fp32", "bf16"}) {
    const LayoutOptions options{.precision = precision, .steps = 2};
    const NamedValues want = bits_of(run_on_threads(variant, options, 1, 1));
    for (int threads : {2, 3}) {
      EXPECT_EQ(first_bit_difference(bits_of(run_on_threads(variant, options, 1, threads)), want),
                "")
          << precision << " " << threads << " threads";
    }
    EXPECT_EQ(first_bit_difference(bits_of(run_on_threads(variant, options, 2, 2)), want), "")
        << precision << " dp 2";
  }
}

// Messages move between the ops of a step, forward and backward: the engine's own scope is the
// innermost while ops run.
TEST(DataParallelBits, TheEngineMovesMessagesBetweenOps) {
  int outside = 0;
  const BetweenOpsScope scope([&] { ++outside; });
  run_engine(find_variant("moe_v2"), {.steps = 1}, Group::self());
  EXPECT_EQ(outside, 0);
}

// Dropout goes by (seed, step, site, global token): neither ranks nor recomputation change the
// mask, and other micro-batches only the order of additions.
TEST(DataParallelBits, DropoutDoesNotSeeTheLayout) {
  Variant variant = find_variant("moe");
  variant.name = "moe_dropout";
  variant.config.model.hidden_dropout = 0.3;
  const LayoutOptions options{.gradients = true};
  const EngineRun plain = run_on_threads(find_variant("moe"), options, 1);
  const EngineRun one = run_on_threads(variant, options, 1);
  EXPECT_GT(worst_difference(one.gradients, plain.gradients).error, 0.1);
  for (const char* recompute : {"none", "full"}) {
    LayoutOptions other = options;
    other.recompute = recompute;
    for (int dp : {1, 2, 8})
      EXPECT_EQ(first_bit_difference(bits_of(run_on_threads(variant, other, dp)), bits_of(one)), "")
          << "dp " << dp << ", recompute " << recompute;
  }
  Worst worst(1e-10);
  for (int64_t sequences : {1, 4}) {
    const EngineRun run = run_on_threads(with_micro_batch_size(variant, sequences), options, 2);
    worst.expect_values("gradients", run.gradients, one.gradients,
                        concat("micro-batches of ", sequences));
    worst.expect_values("weights", run.weights, one.weights,
                        concat("micro-batches of ", sequences));
  }
}

// Fewer lanes than eight: the ranks that divide them still agree to the bit.
TEST(DataParallelBits, TwoAndFourLanes) {
  for (const char* name : {"dense_tied_deep", "moe_normalized_tied"}) {
    for (int lanes : {2, 4}) {
      const LayoutOptions options{.precision = "fp32", .reduction_lanes = lanes};
      const NamedValues want = bits_of(run_on_threads(find_variant(name), options, 1));
      for (int dp = 2; dp <= lanes; dp *= 2) {
        EXPECT_EQ(
            first_bit_difference(bits_of(run_on_threads(find_variant(name), options, dp)), want),
            "")
            << name << " " << lanes << " lanes, dp " << dp;
      }
    }
  }
}

// The number of lanes is part of the bits: a test that compares bits could not fail otherwise.
TEST(DataParallelBits, LanesAreSeenInTheBits) {
  LayoutOptions options{.precision = "fp32"};
  const NamedValues eight = bits_of(run_on_threads(find_variant("dense_gqa"), options, 1));
  options.reduction_lanes = 1;
  const NamedValues one = bits_of(run_on_threads(find_variant("dense_gqa"), options, 1));
  EXPECT_NE(first_bit_difference(one, eight), "");
}

// 3 ranks do not divide the lanes, 4 and 8 are more than 2: equal to tolerance.
TEST(DataParallelTolerance, RanksThatDoNotDivideTheLanes) {
  Worst worst(1e-10);
  for (const char* name : {"dense_gqa", "moe_normalized_tied"}) {
    LayoutOptions options = sgd();
    options.reduction_lanes = 2;
    for (int micro_batches : {6, 12}) {
      const Variant variant = with_micro_batches(find_variant(name), micro_batches);
      for (int dp : {3, 6}) expect_equals_reference(worst, variant, options, dp);
    }
    for (int dp : {4, 8}) expect_equals_reference(worst, find_variant(name), options, dp);
    options.determinism = "none";
    expect_equals_reference(worst, find_variant(name), options, 2);
  }
}

// The language loss alone, also of a model that predicts further.
TEST(DataParallelEngine, EvaluatesWhatTheReferenceEvaluates) {
  for (const char* name : {"moe", "moe_v3_mtp"}) {
    const Variant& variant = find_variant(name);
    const ReferenceRun& want = reference_run(variant, sgd());
    run_ranks(4, [&](const Group& world) {
      Engine engine = pretrain_engine(plan_of(variant, {}, 4), world);
      load_weights(engine.role(), initial_weights(variant));
      const std::vector<MicroBatch> own = own_batches(variant, world, 1);
      const EvaluationResult result = engine.evaluate(
          [&](int64_t i) { return own[static_cast<size_t>(i)]; }, static_cast<int64_t>(own.size()));
      EXPECT_EQ(result.count, static_cast<double>(want.steps[0].labelled_tokens));
      EXPECT_LE(relative(result.loss, want.steps[0].lm_loss), 1e-12);
      for (const double sum : result.sums) EXPECT_EQ(sum, 0.0);
    });
  }
}

// Loads, and what is dropped, by step and layer.
std::vector<std::vector<double>> statistics_of(const EngineRun& run) {
  std::vector<std::vector<double>> all;
  for (const StepResult& step : run.steps) {
    all.insert(all.end(), step.expert_counts.begin(), step.expert_counts.end());
    all.push_back(step.dropped);
  }
  return all;
}

TEST(DataParallelRouting, StatisticsDoNotSeeLayoutOrMicroBatches) {
  for (const char* name : {"moe_v2", "moe_v3"}) {
    const Variant& variant = find_variant(name);
    const auto want = statistics_of(run_on_threads(variant, {}, 1));
    for (int64_t sequences : {1, 4})
      for (int dp : {1, 2, 4})
        EXPECT_EQ(statistics_of(run_on_threads(with_micro_batch_size(variant, sequences), {}, dp)),
                  want)
            << name << " micro-batches of " << sequences << ", dp " << dp;
  }
}

// Every step of the variant drops tokens, and spares some by protection.
TEST(DataParallelRouting, DropsInTrainingOnlyAndNotWhereProtected) {
  const Variant& variant = find_variant("moe_v2");
  const EngineRun run = run_on_threads(variant, {}, 1);
  for (const StepResult& step : run.steps)
    for (double dropped : step.dropped) EXPECT_GT(dropped, 0);
  Variant dropless = variant;
  dropless.name = "moe_v2_dropless";
  dropless.config.moe.capacity_factor = 0;
  const ReferenceResult& want = reference_run(dropless, sgd()).steps.front();
  EXPECT_GT(relative(run.steps[0].objective_loss, want.lm_loss), 1e-6);
  run_ranks(2, [&](const Group& world) {
    Engine engine = pretrain_engine(plan_of(variant, {}, 2), world);
    load_weights(engine.role(), initial_weights(variant));
    const std::vector<MicroBatch> own = own_batches(variant, world, 1);
    const EvaluationResult result = engine.evaluate(
        [&](int64_t i) { return own[static_cast<size_t>(i)]; }, static_cast<int64_t>(own.size()));
    EXPECT_LE(relative(result.loss, want.lm_loss), 1e-12);
  });
}

// What is dropped adds nothing, and the token's other weights stay as they are.  Without balance
// losses, whose factors hide the difference.
TEST(DataParallelRouting, DroppingDoesNotRenormalise) {
  Variant variant = find_variant("moe_v2");
  variant.name = "moe_v2_normalized";
  variant.config.model.norm_topk_prob = true;
  variant.config.moe.balance = {.expert = 0};
  Worst worst(1e-10);
  for (int dp : {1, 4}) expect_equals_reference(worst, variant, sgd(), dp);
}

// Only an update moves the bias, and then by exactly its rate.
TEST(DataParallelRouting, BiasMovesWithEveryUpdate) {
  const Variant& variant = find_variant("moe_v3");
  const std::string name = "model.layers.1.mlp.gate.e_score_correction_bias";
  const auto bias_of = [&](Engine& engine) {
    for (const auto& parameter : engine.role().store().all())
      if (parameter->name() == name) return parameter->value().to_doubles();
    return std::vector<double>();
  };
  run_ranks(2, [&](const Group& world) {
    Engine engine = pretrain_engine(plan_of(variant, {.recompute = "full"}, 2), world);
    std::vector<MicroBatch> own = own_batches(variant, world, 1);
    std::vector<MicroBatch> without_labels = own;
    for (MicroBatch& batch : without_labels)
      std::fill(batch.labels.begin(), batch.labels.end(), kIgnoredLabel);
    EXPECT_TRUE(engine.step(without_labels, 1).skipped);
    EXPECT_EQ(bias_of(engine), std::vector<double>(16, 0.0));
    const std::vector<double> counts = engine.step(own, 2).expert_counts[0];
    double total = 0;
    for (double count : counts) total += count;
    const std::vector<double> bias = bias_of(engine);
    for (size_t e = 0; e < counts.size(); ++e) {
      const double lacking = total / 16 - counts[e];
      EXPECT_EQ(bias[e], lacking > 0 ? 0.01 : lacking < 0 ? -0.01 : 0.0) << e;
    }
  });
}

// Nothing to learn from: no update, no division by zero.
TEST(DataParallelEngine, SkipsAStepWithoutLabels) {
  const Variant& variant = find_variant("moe");
  run_ranks(2, [&](const Group& world) {
    Engine engine = pretrain_engine(plan_of(variant, {}, 2), world);
    std::vector<MicroBatch> own = own_batches(variant, world, 1);
    for (MicroBatch& batch : own)
      std::fill(batch.labels.begin(), batch.labels.end(), kIgnoredLabel);
    const StepResult result = engine.step(own, 1);
    EXPECT_TRUE(result.skipped);
    EXPECT_EQ(result.objective_loss, 0.0);
    EXPECT_TRUE(std::isfinite(result.balance_loss));
    EXPECT_EQ(engine.role().updates(), 0);
  });
}

// Lanes go by the number of micro-batches of a rank.
TEST(DataParallelEngine, WantsEquallyManyMicroBatchesOnEveryRank) {
  const Variant& variant = find_variant("dense_gqa");
  run_ranks(2, [&](const Group& world) {
    Engine engine = pretrain_engine(plan_of(variant, {}, 2), world);
    std::vector<MicroBatch> own = own_batches(variant, world, 1);
    if (world.rank() == 1) own.pop_back();
    EXPECT_THROW(engine.accumulate(own, 1), Error);
  });
}

// Initial weights do not depend on precision, but for rounding.
TEST(DataParallelEngine, StartsFromTheSameWeightsInEveryPrecision) {
  const Variant& variant = find_variant("moe");
  const auto weights_in = [&](const char* precision) {
    Engine engine = pretrain_engine(plan_of(variant, {.precision = precision}, 1), Group::self());
    NamedValues values;
    for (const auto& state : engine.role().optimizer().state())
      values[state.parameter->name()] = state.parameter->value().to_doubles();
    return values;
  };
  const NamedValues exact = weights_in("fp64");
  NamedValues rounded = exact;
  for (auto& [name, values] : rounded)
    for (double& value : values) value = static_cast<double>(static_cast<float>(value));
  EXPECT_EQ(first_bit_difference(weights_in("fp32"), rounded), "");
  EXPECT_LE(worst_difference(weights_in("bf16"), exact).error, 0x1p-8);
}

}  // namespace
}  // namespace orthant::testing
