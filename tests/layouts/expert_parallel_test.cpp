// SPDX-License-Identifier: Apache-2.0
// Experts on other ranks compute what one plain rank computes; expert parallelism alone (no
// expert-tensor ranks) has the forward bits of all experts local.
#include <gtest/gtest.h>

#include "parallel/comm/threads/run_ranks.h"
#include "tests/layouts/reference_run.h"
#include "tests/layouts/worst.h"
#include "trainer/pretrain_engine.h"

namespace orthant::testing {
namespace {

struct ExpertLayout {
  int ranks, ep, etp;
  int zero = 1;
  const char* recompute = "none";
  int micro_batch_size = 0;  // sequences; 0: the variant's, other sizes accumulate otherwise
};
constexpr ExpertLayout kLayouts[] = {{2, 2, 1}, {4, 2, 1}, {4, 4, 1}, {8, 2, 1}, {8, 4, 1},
                                     {2, 1, 2}, {4, 2, 2}, {8, 2, 2}, {8, 4, 2}, {8, 1, 2}};
// Every value of every axis with every value of every other.
constexpr ExpertLayout kPairwise[] = {
    {1, 1, 1, 0, "full", 1}, {1, 1, 1, 1, "none", 2}, {2, 1, 1, 0, "none", 1},
    {2, 2, 1, 1, "full", 2}, {2, 1, 2, 0, "full", 2}, {2, 2, 1, 0, "none", 1},
    {2, 1, 2, 1, "none", 1}, {4, 1, 1, 1, "full", 1}, {4, 2, 1, 0, "full", 2},
    {4, 4, 1, 1, "none", 1}, {4, 1, 2, 1, "full", 1}, {4, 2, 2, 0, "none", 2},
    {4, 2, 2, 1, "full", 1}, {4, 4, 1, 0, "full", 2}, {8, 1, 1, 0, "none", 1},
    {8, 2, 1, 0, "full", 1}, {8, 4, 1, 0, "none", 1}, {8, 1, 2, 0, "none", 1},
    {8, 2, 2, 0, "full", 1}, {8, 4, 2, 0, "full", 1}, {8, 4, 2, 1, "none", 1},
    {8, 2, 1, 1, "none", 1}, {8, 1, 2, 1, "full", 1}, {8, 4, 1, 1, "full", 1}};

// Layouts whose experts and inner width can be shared so.
bool fits(const Variant& variant, const ExpertLayout& layout) {
  const ModelConfig& m = variant.config.model;
  return m.n_routed_experts % layout.ep == 0 && m.moe_intermediate_size % layout.etp == 0;
}

LayoutOptions with(LayoutOptions options, const ExpertLayout& layout) {
  options.expert_parallel_size = layout.ep;
  options.expert_tensor_parallel_size = layout.etp;
  options.zero_stage = layout.zero;
  options.recompute = layout.recompute;
  return options;
}

class ExpertParallel : public ::testing::TestWithParam<std::string> {
 protected:
  const Variant& variant() const { return find_variant(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Models, ExpertParallel,
                         ::testing::Values("moe", "moe_normalized_tied", "moe_deep", "moe_v2",
                                           "moe_v3"),
                         [](const auto& param) { return param.param; });

TEST_P(ExpertParallel, Fp64EqualsReference) {
  Worst worst(1e-10);
  for (const ExpertLayout& layout : kLayouts) {
    if (!fits(variant(), layout)) continue;
    for (const char* optimizer : {"sgd", "adamw"}) {
      const LayoutOptions options{.optimizer = optimizer,
                                  .learning_rate = optimizer[0] == 's' ? 0.3 : 1e-3,
                                  .gradients = true};
      expect_equals_reference(worst, variant(), with(options, layout), layout.ranks);
    }
  }
}

// With ZeRO and without, recomputed, and cut into other micro-batches, against the reference.
TEST_P(ExpertParallel, Fp64PairwiseEqualsReference) {
  Worst worst(1e-10);
  int layouts = 0;
  for (const ExpertLayout& layout : kPairwise) {
    const Variant cut = with_micro_batch_size(variant(), layout.micro_batch_size);
    if (!fits(variant(), layout) || cut.config.batch.micro_batches() % layout.ranks != 0) continue;
    const LayoutOptions options{.learning_rate = 1e-3, .gradients = true};
    expect_equals_reference(worst, cut, with(options, layout), layout.ranks);
    ++layouts;
  }
  std::cout << "  " << layouts << " layouts\n";
}

TEST_P(ExpertParallel, Fp32EqualsReferenceWithItsChoices) {
  Worst worst(1e-5);
  LayoutOptions options{
      .precision = "fp32", .optimizer = "sgd", .learning_rate = 0.3, .gradients = true};
  const ReferenceRun& want = reference_run(variant(), options);
  options.replay = &want.choices;
  for (const ExpertLayout& layout : kLayouts) {
    if (!fits(variant(), layout)) continue;
    const EngineRun run = run_on_threads(variant(), with(options, layout), layout.ranks);
    const std::string where = concat(variant().name, " dp ", layout.ranks, " ep ", layout.ep);
    expect_losses(worst, run, want, 1, where);
    worst.expect_values("gradients", run.gradients, want.gradients, where);
    worst.expect_values("weights", run.weights, want.weights, where);
  }
}

// What the forward pass and dense backward give with experts elsewhere: losses, choices, and the
// gradients of everything but experts' weights, whose products take the rows of several ranks at
// once.
TEST_P(ExpertParallel, ForwardAndDenseGradientsHaveTheSameBits) {
  for (const char* precision : {"fp64", "fp32", "bf16"}) {
    for (const char* recompute : {"none", "full"}) {
      const LayoutOptions options{
          .precision = precision, .steps = 1, .recompute = recompute, .gradients = true};
      const EngineRun one = run_on_threads(variant(), options, 1);
      for (const ExpertLayout& layout : kLayouts) {
        if (!fits(variant(), layout) || layout.etp > 1) continue;
        LayoutOptions split = with(options, layout);
        split.recompute = recompute;
        const EngineRun run = run_on_threads(variant(), split, layout.ranks);
        const std::string where =
            concat(variant().name, " ", precision, " dp ", layout.ranks, " ep ", layout.ep);
        EXPECT_EQ(run.steps[0].objective_loss, one.steps[0].objective_loss) << where;
        EXPECT_EQ(run.steps[0].balance_loss, one.steps[0].balance_loss) << where;
        EXPECT_EQ(run.steps[0].expert_counts, one.steps[0].expert_counts) << where;
        EXPECT_EQ(run.choices, one.choices) << where;
        NamedValues got = run.gradients, want = one.gradients;
        const auto is_expert = [](const auto& entry) {
          return entry.first.find(".experts.") != std::string::npos;
        };
        std::erase_if(got, is_expert);
        std::erase_if(want, is_expert);
        EXPECT_EQ(first_bit_difference(got, want), "") << where;
      }
    }
  }
}

// The same job again gives the same bits, experts included.
TEST_P(ExpertParallel, RepeatsItsBits) {
  const LayoutOptions options =
      with({.precision = "bf16", .gradients = true}, {.ranks = 4, .ep = 2, .etp = 1});
  const EngineRun first = run_on_threads(variant(), options, 4);
  EXPECT_EQ(first_bit_difference(bits_of(run_on_threads(variant(), options, 4)), bits_of(first)),
            "");
}

// Every token's experts, by rule: (row of the step, layer, token, slot) -> expert.
StepChoices rigged(const Variant& variant, int64_t steps,
                   const std::function<int(int64_t, int64_t)>& expert) {
  const EngineRun run = run_on_threads(variant, {.steps = steps}, 1);
  StepChoices choices = run.choices;
  const int64_t slots = variant.config.model.num_experts_per_tok;
  for (auto& step : choices)
    for (RowChoices& row : step)
      for (std::vector<int>& layer : row)
        for (size_t i = 0; i < layer.size(); ++i)
          if (layer[i] >= 0)
            layer[i] = expert(static_cast<int64_t>(i) / slots, static_cast<int64_t>(i) % slots);
  return choices;
}

// All tokens on one rank's experts: the others compute nothing, and still take part.
TEST_P(ExpertParallel, AwkwardLoads) {
  Worst worst(1e-10);
  const auto experts = static_cast<int>(variant().config.model.n_routed_experts);
  const StepChoices first = rigged(variant(), 3, [](int64_t, int64_t slot) { return slot; });
  const StepChoices last = rigged(
      variant(), 3, [&](int64_t, int64_t slot) { return experts - 1 - static_cast<int>(slot); });
  for (const StepChoices* choices : {&first, &last}) {
    for (const ExpertLayout& layout : kLayouts) {
      if (!fits(variant(), layout)) continue;
      const LayoutOptions options{
          .optimizer = "sgd", .learning_rate = 0.3, .gradients = true, .replay = choices};
      expect_equals_reference(worst, variant(), with(options, layout), layout.ranks);
    }
  }
}

TEST(ExpertParallelEngine, EvaluatesAndSkipsLikeOneRank) {
  const Variant& variant = find_variant("moe");
  const LayoutOptions options{.expert_parallel_size = 2};
  const ReferenceRun& want = reference_run(variant, {.optimizer = "sgd", .learning_rate = 0.3});
  run_ranks(4, [&](const Group& world) {
    Engine engine = pretrain_engine(plan_of(variant, options, 4), world);
    load_weights(engine.role(), initial_weights(variant));
    std::vector<MicroBatch> own = own_batches(variant, world, 1);
    const EvaluationResult result = engine.evaluate(
        [&](int64_t i) { return own[static_cast<size_t>(i)]; }, static_cast<int64_t>(own.size()));
    EXPECT_LE(relative(result.loss, want.steps[0].lm_loss), 1e-12);
    for (MicroBatch& batch : own)
      std::fill(batch.labels.begin(), batch.labels.end(), kIgnoredLabel);
    EXPECT_TRUE(engine.step(own, 1).skipped);
  });
}

// Experts on other ranks answer while a sequence is decoded.
TEST(ExpertParallelEngine, DecodesWithTheBitsOfOneRank) {
  const Variant& variant = find_variant("moe");
  const auto decode = [&](const Group& world, int64_t ep) {
    LayoutOptions options{.precision = "fp32", .expert_parallel_size = ep};
    Engine engine = pretrain_engine(plan_of(variant, options, world.size()), world);
    KvCache cache = engine.role().model().make_cache(1);
    std::vector<double> logits;
    for (const std::vector<int32_t>& ids : {std::vector<int32_t>{3, 1, 4}, {1}, {5, 9}}) {
      const std::vector<double> next = engine.role().model().decode({ids}, cache).to_doubles();
      logits.insert(logits.end(), next.begin(), next.end());
    }
    return logits;
  };
  const std::vector<double> want = decode(Group::self(), 1);
  run_ranks(4, [&](const Group& world) { EXPECT_EQ(decode(world, 4), want); });
}

}  // namespace
}  // namespace orthant::testing
