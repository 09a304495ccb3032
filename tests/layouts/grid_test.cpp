// SPDX-License-Identifier: Apache-2.0
// All axes at once: data, tensor, sequence, context, pipeline, expert and expert-tensor
// parallelism, ZeRO, accumulation, recomputation, on dense and MoE models with tied embeddings,
// windows and dropped tokens.  Every two values of two axes meet in a layout.
#include "tests/layouts/grid.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/layouts/reference_run.h"
#include "tests/layouts/worst.h"

namespace orthant::testing {
namespace {

const GridCover& cover() {
  static const GridCover cover = pairwise_layouts(8);
  return cover;
}
constexpr size_t kParts = 8;  // tests, so that they run side by side

class Grid : public ::testing::TestWithParam<size_t> {
 protected:
  template <class F>
  void each(F f) const {
    for (size_t i = GetParam(); i < cover().layouts.size(); i += kParts) f(cover().layouts[i]);
  }
};
INSTANTIATE_TEST_SUITE_P(Parts, Grid, ::testing::Range<size_t>(0, kParts));

TEST(GridCoverTest, CoversAllPairs) {
  const size_t layouts = cover().layouts.size();
  std::cout << "  " << layouts << " layouts, " << cover().pairs << " pairs\n";
  EXPECT_GE(layouts, 60U);
}

TEST_P(Grid, Fp64EqualsReference) {
  Worst worst(1e-10);
  int count = 0;
  each([&](const GridLayout& layout) {
    LayoutOptions options = layout.options();
    if (count++ % 3 == 0) options.optimizer = "sgd", options.learning_rate = 0.3;
    SCOPED_TRACE(layout.text());
    expect_equals_reference(worst, layout.variant(), options, layout.ranks());
  });
}

TEST_P(Grid, Fp32EqualsReferenceWithItsChoices) {
  Worst worst(1e-5);
  each([&](const GridLayout& layout) {
    const Variant variant = layout.variant();
    LayoutOptions options = layout.options();
    options.precision = "fp32", options.optimizer = "sgd", options.learning_rate = 0.3;
    const ReferenceRun& want = reference_run(variant, options);
    if (variant.config.model.is_moe()) options.replay = &want.choices;
    const EngineRun run = run_on_threads(variant, options, layout.ranks());
    expect_losses(worst, run, want, 1, layout.text());
    worst.expect_values("gradients", run.gradients, want.gradients, layout.text());
    worst.expect_values("weights", run.weights, want.weights, layout.text());
  });
}

// The same rows again and again, so that there is something to learn.  The tensors of a step are
// compared in fp64 and fp32, above.
TEST_P(Grid, Bf16LossFollowsFp64OfOneRank) {
  Worst worst(2e-2);
  std::map<std::string, EngineRun> of_one_rank;  // by variant
  const auto loss = [](const StepResult& step) { return step.objective_loss + step.balance_loss; };
  each([&](const GridLayout& layout) {
    const Variant variant = layout.variant();
    LayoutOptions options = layout.options();
    options.learning_rate = 2e-3, options.steps = 20, options.repeat_data = true;
    options.precision = "bf16", options.gradients = false;
    const LayoutOptions one{
        .learning_rate = options.learning_rate, .steps = options.steps, .repeat_data = true};
    if (!of_one_rank.contains(variant.name))
      of_one_rank[variant.name] = run_on_threads(variant, one, 1);
    const EngineRun& want = of_one_rank[variant.name];
    const EngineRun run = run_on_threads(variant, options, layout.ranks());
    for (size_t i = 0; i < want.steps.size(); ++i)
      worst.expect_number("loss", loss(run.steps[i]), loss(want.steps[i]),
                          concat(layout.text(), " step ", i + 1));
    EXPECT_LT(loss(want.steps.back()), 0.9 * loss(want.steps.front())) << layout.text();
  });
}

// Masks go by the token, wherever it is computed.
TEST_P(Grid, DropoutFollowsTheToken) {
  Worst worst(1e-10);
  each([&](const GridLayout& layout) {
    Variant variant = layout.variant();
    variant.name += "_dropout";
    variant.config.model.hidden_dropout = 0.25;
    const LayoutOptions one{.steps = 1, .gradients = true};
    LayoutOptions options = layout.options();
    options.steps = 1;
    const EngineRun want = run_on_threads(variant, one, 1);
    const EngineRun got = run_on_threads(variant, options, layout.ranks());
    worst.expect_values("gradients", got.gradients, want.gradients, layout.text());
    worst.expect_values("weights", got.weights, want.weights, layout.text());
  });
}

// Stages on other ranks, in any order of forwards and backwards, change no bit.
TEST_P(Grid, PipelineSplitsHaveTheBitsOfOneRank) {
  std::set<std::string> seen;
  each([&](const GridLayout& layout) {
    if (layout.pp == 1) return;
    GridLayout split = layout;
    split.dp = split.tp = split.cp = split.ep = split.etp = 1;
    split.sp = true, split.ulysses = false;
    const Variant variant = split.variant();
    for (const char* precision : {"fp32", "bf16"}) {
      LayoutOptions options = split.options(), one = split.options();
      options.precision = one.precision = precision;
      one.pipeline_parallel_size = 1;
      one.pipeline_schedule = "1f1b";
      const EngineRun want = run_on_threads(variant, one, 1);
      const EngineRun got = run_on_threads(variant, options, split.pp);
      EXPECT_EQ(first_bit_difference(bits_of(got), bits_of(want)), "")
          << split.text() << " " << precision;
    }
  });
}

}  // namespace
}  // namespace orthant::testing
