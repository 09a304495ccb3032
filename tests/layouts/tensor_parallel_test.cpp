// SPDX-License-Identifier: Apache-2.0
// Tensor-parallel ranks, with and without sequence parallelism, compute what one plain rank
// computes, also where their experts are folded over other ranks.
#include <gtest/gtest.h>

#include "parallel/comm/threads/run_ranks.h"
#include "tests/layouts/reference_run.h"
#include "tests/layouts/worst.h"

namespace orthant::testing {
namespace {

struct Layout {
  int ranks, tp;
  bool sp;
  int ep = 1, etp = 1, zero = 1;
  const char* recompute = "none";
};
// Pairs of all values; models that cannot be cut so leave a layout out.
constexpr Layout kLayouts[] = {
    {2, 2, true, 1, 1, 1, "none"},  {2, 2, false, 1, 1, 0, "full"}, {2, 2, true, 2, 1, 0, "full"},
    {2, 2, false, 1, 2, 1, "none"}, {4, 2, true, 1, 1, 0, "full"},  {4, 2, false, 2, 1, 1, "none"},
    {4, 2, true, 2, 2, 1, "full"},  {4, 2, false, 4, 1, 0, "none"}, {4, 4, true, 1, 1, 1, "full"},
    {4, 4, false, 2, 2, 0, "none"}, {4, 4, true, 4, 1, 1, "none"},  {4, 4, false, 1, 1, 1, "none"},
    {8, 2, true, 4, 1, 1, "none"},  {8, 2, false, 2, 2, 1, "full"}, {8, 4, true, 2, 1, 0, "none"},
    {8, 4, false, 4, 2, 1, "full"}, {8, 2, true, 1, 2, 0, "none"},  {8, 4, true, 8, 1, 1, "full"}};

bool fits(const Variant& variant, const Layout& l) {
  const ModelConfig& m = variant.config.model;
  if (m.num_attention_heads % l.tp != 0) return false;
  if (m.n_routed_experts == 0) return l.ep * l.etp == 1;
  return m.n_routed_experts % l.ep == 0 && m.moe_intermediate_size % l.etp == 0;
}

EngineOptions with(EngineOptions options, const Layout& layout) {
  options.tensor_parallel_size = layout.tp;
  options.sequence_parallel = layout.sp;
  options.expert_parallel_size = layout.ep;
  options.expert_tensor_parallel_size = layout.etp;
  options.zero_stage = layout.zero;
  options.recompute = layout.recompute;
  return options;
}

class TensorParallelLayouts : public ::testing::TestWithParam<std::string> {
 protected:
  const Variant& variant() const { return find_variant(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Models, TensorParallelLayouts,
                         ::testing::Values("dense_gqa", "dense_tied_deep", "moe",
                                           "moe_normalized_tied", "moe_deep", "moe_v2", "moe_v3"),
                         [](const auto& param) { return param.param; });

TEST_P(TensorParallelLayouts, Fp64EqualsReference) {
  Worst worst(1e-10);
  int layouts = 0;
  for (const Layout& layout : kLayouts) {
    if (!fits(variant(), layout)) continue;
    const bool sgd = layouts++ % 2 == 0;
    const EngineOptions options{
        .optimizer = sgd ? "sgd" : "adamw", .learning_rate = sgd ? 0.3 : 1e-3, .gradients = true};
    expect_equals_reference(worst, variant(), with(options, layout), layout.ranks);
  }
  std::cout << "  " << layouts << " layouts\n";
}

TEST_P(TensorParallelLayouts, Fp32EqualsReferenceWithItsChoices) {
  Worst worst(1e-5);
  EngineOptions options{
      .precision = "fp32", .optimizer = "sgd", .learning_rate = 0.3, .gradients = true};
  const ReferenceRun& want = reference_run(variant(), options);
  if (variant().config.model.is_moe()) options.replay = &want.choices;
  for (const Layout& layout : kLayouts) {
    if (!fits(variant(), layout)) continue;
    const EngineRun run = run_on_threads(variant(), with(options, layout), layout.ranks);
    const std::string where = concat(variant().name, " ranks ", layout.ranks, " tp ", layout.tp,
                                     layout.sp ? "" : " without sp", " ep ", layout.ep);
    expect_losses(worst, run, want, 1, where);
    worst.expect_values("gradients", run.gradients, want.gradients, where);
    worst.expect_values("weights", run.weights, want.weights, where);
  }
}

// Also where the data-parallel size differs: its ranks join the tree of lanes first.
TEST_P(TensorParallelLayouts, DataParallelSizesAndZeroGiveTheSameBits) {
  for (const char* precision : {"fp32", "bf16"}) {
    for (const bool sp : {true, false}) {
      EngineOptions options{.precision = precision, .zero_stage = 0, .gradients = true};
      options.tensor_parallel_size = 2;
      options.sequence_parallel = sp;
      const EngineRun want = run_on_threads(variant(), options, 2);
      for (const int ranks : {2, 4, 8}) {
        for (const int zero : {0, 1}) {
          options.zero_stage = zero;
          const EngineRun got = run_on_threads(variant(), options, ranks);
          EXPECT_EQ(first_bit_difference(bits_of(got), bits_of(want)), "")
              << precision << " ranks " << ranks << " zero " << zero;
        }
      }
    }
  }
}

// A row for three of four ranks, none for the last.
TEST(TensorParallelEngine, DecodesLikeOneRank) {
  for (const char* name : {"moe", "dense_gqa"}) {
    const Variant& variant = find_variant(name);
    const auto decode = [&](const Group& world, bool sp) {
      EngineOptions options{.precision = "fp64"};
      options.tensor_parallel_size = world.size();
      options.sequence_parallel = sp;
      Engine engine(resolved_config(variant, options, world.size()), world);
      KvCache cache = engine.model().make_cache(1, 16);
      std::vector<double> logits;
      for (const std::vector<int32_t>& ids : {std::vector<int32_t>{3, 1, 4}, {1}, {5, 9}}) {
        const std::vector<double> next =
            engine.model().decode(Tensor::from_i32({std::ssize(ids)}, ids), cache).to_doubles();
        logits.insert(logits.end(), next.begin(), next.end());
      }
      return logits;
    };
    const std::vector<double> want = decode(Group::self(), true);
    for (const bool sp : {true, false}) {
      run_ranks(4, [&](const Group& world) {
        const std::vector<double> got = decode(world, sp);
        ASSERT_EQ(got.size(), want.size());
        for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12);
      });
    }
  }
}

}  // namespace
}  // namespace orthant::testing
