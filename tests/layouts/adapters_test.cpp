// SPDX-License-Identifier: Apache-2.0
// Adapters beside everything that may have one, on the layouts of the grid: the same gradients and
// weights as on one rank, with dropout and without; the base gets none.
#include "trainer/adapters.h"

#include <gtest/gtest.h>

#include "tests/layouts/grid.h"
#include "tests/layouts/worst.h"
#include "trainer/pretrain_engine.h"

namespace orthant::testing {
namespace {

constexpr size_t kParts = 4;  // tests, so that they run side by side

// A layer for multi-token prediction shares embedding and head, which then have no adapter.
Variant adapted(Variant variant, double dropout, bool dora = false) {
  variant.name += concat("_adapted_", dropout, dora ? "_dora" : "");
  LoraConfig& lora = variant.config.lora;
  lora.use_dora = dora;
  lora.rank = 3;
  lora.alpha = 5;
  lora.dropout = dropout;
  lora.target_modules = {{"all-linear"}};
  if (variant.config.model.is_moe()) lora.target_modules.push_back({"mlp.gate"});
  if (variant.config.model.num_nextn_predict_layers == 0) {
    lora.target_modules.push_back({"lm_head"});
    lora.target_modules.push_back({"embed_tokens"});
  }
  lora.patterns = {{.modules = "down_proj", .rank = 2}};
  lora.modules_to_save = {{"post_attention_layernorm"}};
  return variant;
}

class Adapters : public ::testing::TestWithParam<size_t> {};
INSTANTIATE_TEST_SUITE_P(Parts, Adapters, ::testing::Range<size_t>(0, kParts));

TEST_P(Adapters, Fp64EqualsOneRank) {
  static const GridCover cover = pairwise_layouts(8);
  Worst worst(1e-10);
  for (size_t i = GetParam(); i < cover.layouts.size(); i += kParts) {
    const GridLayout& layout = cover.layouts[i];
    const Variant variant = adapted(layout.variant(), i / 2 % 2 == 0 ? 0.25 : 0.0,
                                    /*dora=*/i % 3 == 0);
    SCOPED_TRACE(layout.text());
    LayoutOptions options = layout.options();
    options.gradients = true;
    const LayoutOptions one{.gradients = true};
    const EngineRun want = run_on_threads(variant, one, 1);
    const EngineRun got = run_on_threads(variant, options, layout.ranks());
    for (const auto& [name, gradient] : want.gradients)
      EXPECT_TRUE(is_adapter_tensor(name) || name.find("post_attention") != std::string::npos)
          << name << " has a gradient";
    worst.expect_values("gradients", got.gradients, want.gradients, layout.text());
    worst.expect_values("weights", got.weights, want.weights, layout.text());
  }
}

// Pipeline and data-parallel splits change no bit of adapters either.
TEST(AdaptersTest, SplitsHaveTheBitsOfOneRank) {
  for (const char* name : {"dense_tied_deep", "moe_v2"}) {
    const Variant variant = adapted(find_variant(name), 0.25, /*dora=*/true);
    for (const char* precision : {"fp32", "bf16"}) {
      const LayoutOptions one{.precision = precision, .gradients = true};
      LayoutOptions split = one;
      split.pipeline_parallel_size = 2;
      const NamedValues want = bits_of(run_on_threads(variant, one, 1));
      EXPECT_EQ(first_bit_difference(bits_of(run_on_threads(variant, split, 4)), want), "") << name;
      split.pipeline_parallel_size = 1, split.zero_stage = 0;
      EXPECT_EQ(first_bit_difference(bits_of(run_on_threads(variant, split, 2)), want), "") << name;
    }
  }
}

// What is printed, counted another way: rank * (inputs + outputs) of every adapted map.
TEST(AdaptersTest, CountsWhatTrains) {
  const Variant variant = adapted(find_variant("moe"), 0.0);
  const Engine engine = pretrain_engine(plan_of(variant, {}, 1), Group::self());
  const TrainedShare share = check_trained(engine.role(), lora_rules(variant.config).get());
  const ModelConfig& c = engine.role().config();
  int64_t want = 0, norms = 0, base = 0;
  for (const auto& parameter : engine.role().store().all()) {
    for (const LogicalTensor& t : parameter->logical()) {
      if (is_adapter_tensor(t.name)) continue;
      base += t.global_shape.numel();
      if (t.name.find("post_attention") != std::string::npos) norms += t.global_shape.numel();
      if (t.global_shape.rank() < 2) continue;
      const int64_t rank = t.name.find("down_proj") != std::string::npos ? 2 : 3;
      want += rank * (t.global_shape[0] + t.global_shape[1]);
    }
  }
  if (c.tie_word_embeddings) want += 3 * (c.vocab_size + c.hidden_size);
  EXPECT_EQ(share.adapters, want);
  EXPECT_EQ(share.trained, want + norms);
  EXPECT_EQ(share.all, want + base);
}

// Evaluation drops nothing out.
TEST(AdaptersTest, EvaluationSeesNoDropout) {
  const auto loss = [](double hidden, double adapters) {
    Variant variant = adapted(find_variant("moe"), adapters);
    variant.config.model.hidden_dropout = hidden;
    const Engine engine = pretrain_engine(plan_of(variant, {}, 1), Group::self());
    const std::vector<MicroBatch> batches = batches_of(variant, 1);
    return engine.evaluate([&](int64_t i) { return batches[static_cast<size_t>(i)]; }, 2).loss;
  };
  EXPECT_EQ(loss(0.0, 0.0), loss(0.3, 0.3));
}

}  // namespace
}  // namespace orthant::testing
