// SPDX-License-Identifier: Apache-2.0
// Adapters beside everything that may have one, on the layouts of the grid: the same gradients and
// weights as on one rank, with dropout and without; the base gets none.
#include "trainer/adapters.h"

#include <gtest/gtest.h>

#include "parallel/comm/threads/run_ranks.h"
#include "tests/layouts/grid.h"
#include "tests/layouts/worst.h"
#include "trainer/pretrain_engine.h"
#include "trainer/weight_source.h"

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

// The same over a base in few bits, which are those of one rank wherever it is cut.
Variant over_quantized(Variant variant, Quantization format) {
  variant.name += "_" + quantization_names().of(format);
  variant.config.quantization.format = format;
  variant.config.quantization.exclude_modules = {{"v_proj"}, {"q_proj"}, {"k_proj"}};
  if (format == Quantization::kNf4) variant.config.quantization.exclude_modules.clear();
  return variant;
}

class Adapters : public ::testing::TestWithParam<size_t> {};
INSTANTIATE_TEST_SUITE_P(Parts, Adapters, ::testing::Range<size_t>(0, kParts));

TEST_P(Adapters, Fp64EqualsOneRank) {
  static const GridCover cover = pairwise_layouts(8);
  Worst worst(1e-10);
  for (size_t i = GetParam(); i < cover.layouts.size(); i += kParts) {
    const GridLayout& layout = cover.layouts[i];
    const Variant plain = adapted(layout.variant(), i / 2 % 2 == 0 ? 0.25 : 0.0,
                                  /*dora=*/i % 3 == 0);
    // Every second one over a base in few bits.
    const bool nf4 = i % 4 == 1, int8 = i % 4 == 3;
    const Variant variant =
        nf4 || int8 ? over_quantized(plain, nf4 ? Quantization::kNf4 : Quantization::kInt8) : plain;
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
    if (!nf4 && !int8) continue;
    for (const auto& [name, values] : want.values) {
      if (got.gradients.contains(name)) continue;
      EXPECT_EQ(got.values.at(name), values) << name << ", " << layout.text();
    }
  }
}

// Pipeline and data-parallel splits change no bit of adapters either.
TEST(AdaptersTest, SplitsHaveTheBitsOfOneRank) {
  for (const char* name : {"dense_tied_deep", "moe_v2"}) {
    const Variant variant =
        over_quantized(adapted(find_variant(name), 0.25, /*dora=*/true), Quantization::kNf4);
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

// As a run begins that has just found its base.
void begin(Role& role) {
  random_weights(3)(role);
  random_adapters(5)(role);
}

// One step with SGD: what B learned is its gradient, which dropout of this very product alone
// changes while every B is 0.
struct FirstStep {
  double loss = 0;
  NamedValues weights;
};
FirstStep first_step(Variant variant) {
  variant.config.optimizer.grad_clip = 1e9;
  Engine engine =
      pretrain_engine(plan_of(variant, {.optimizer = "sgd"}, 1), Group::self(), Device{}, begin);
  FirstStep result;
  result.loss = engine.step(batches_of(variant, 1), 1).objective_loss;
  for (const auto& parameter : engine.role().store().all())
    for (const LogicalTensor& t : parameter->logical())
      result.weights[t.name] = parameter->logical_part(parameter->value(), t).to_doubles();
  return result;
}

TEST(AdaptersTest, TrainingDropsOutBesideEveryProduct) {
  const FirstStep none = first_step(adapted(find_variant("moe"), 0.0));
  const FirstStep some = first_step(adapted(find_variant("moe"), 0.25));
  EXPECT_EQ(some.loss, none.loss);
  for (const auto& [name, values] : none.weights) {
    const bool drops = name.find("lora_B") != std::string::npos && name != "lm_head.lora_B.weight";
    EXPECT_EQ(some.weights.at(name) != values, drops) << name;
  }
}

// Magnitudes begin as the norms of the rows, also in what the optimizer goes on from.
TEST(AdaptersTest, DoraBeginsAsTheBase) {
  for (const char* precision : {"fp64", "bf16"}) {
    const auto losses = [&](bool dora) {
      const Variant variant = adapted(find_variant("moe"), 0.0, dora);
      std::vector<double> result;
      run_ranks(2, [&](const Group& world) {
        const LayoutOptions options{.precision = precision, .learning_rate = 1e-12};
        Engine engine = pretrain_engine(plan_of(variant, options, 2), world, Device{}, begin);
        for (int64_t step = 1; step <= 2; ++step) {
          const double loss = engine.step(own_batches(variant, world, 1), step).objective_loss;
          if (world.rank() == 0) result.push_back(loss);
        }
      });
      return result;
    };
    const std::vector<double> plain = losses(false), dora = losses(true);
    for (size_t step = 0; step < 2; ++step) EXPECT_NEAR(dora[step], plain[step], 1e-9);
  }
}

TEST(AdaptersTest, LoraPlusLearnsBFaster) {
  Variant variant = adapted(find_variant("moe"), 0.0);
  const FirstStep one = first_step(variant);
  variant.config.lora.plus_ratio = 4;
  const FirstStep four = first_step(variant);
  for (auto [name, values] : one.weights) {
    if (name.find("lora_B") != std::string::npos)
      for (double& value : values) value *= 4;
    EXPECT_EQ(four.weights.at(name), values) << name;
  }
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
