// SPDX-License-Identifier: Apache-2.0
// ZeRO-1 is seen in memory only: the same bits as plain replicas and as one rank, in checkpoints
// too.  (data_parallel_test.cpp compares with the reference model, with ZeRO-1 on.)
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "base/context.h"
#include "checkpoint/reader.h"
#include "checkpoint/writer.h"
#include "parallel/comm/threads/run_ranks.h"
#include "tests/checkpoint/checkpoint_testing.h"
#include "tests/layouts/engine_run.h"
#include "trainer/pretrain_engine.h"
#include "trainer/training_state.h"

namespace orthant::testing {
namespace {

// "NAME" of variants.h, or "NAME_large_vocabulary": tables so large that slices are cut inside a
// tensor.
Variant variant_of(const std::string& name) {
  static const std::string kLarge = "_large_vocabulary";
  if (!name.ends_with(kLarge)) return find_variant(name);
  Variant variant = find_variant(name.substr(0, name.size() - kLarge.size()));
  variant.name = name;
  variant.config.model.vocab_size = 901;
  return variant;
}

NamedValues bits_of_state(Engine& engine) {
  LayoutRun state;
  add_state(engine.role(), state);
  return bits_of(state);
}

class Zero : public ::testing::TestWithParam<std::string> {
 protected:
  const Variant variant_ = variant_of(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Models, Zero,
                         ::testing::Values("dense_gqa", "dense_tied_deep", "moe",
                                           "moe_normalized_tied", "moe_deep",
                                           "dense_gqa_large_vocabulary",
                                           "moe_normalized_tied_large_vocabulary"),
                         [](const auto& param) { return param.param; });

class ZeroCheckpoints : public Zero {};
INSTANTIATE_TEST_SUITE_P(Models, ZeroCheckpoints,
                         ::testing::Values("dense_tied_deep", "moe",
                                           "moe_normalized_tied_large_vocabulary"),
                         [](const auto& param) { return param.param; });

TEST_P(Zero, OnAndOffHaveTheSameBits) {
  for (const char* precision : {"fp64", "fp32", "bf16"}) {
    LayoutOptions options{.precision = precision, .gradients = true};
    const NamedValues want = bits_of(run_on_threads(variant_, options, 1));
    for (int dp : {2, 4, 8}) {
      for (int zero_stage : {0, 1}) {
        options.zero_stage = zero_stage;
        options.bucket_bytes = dp == 4 ? 8 << 20 : 16 << 10;
        EXPECT_EQ(first_bit_difference(bits_of(run_on_threads(variant_, options, dp)), want), "")
            << precision << " dp " << dp << " zero " << zero_stage;
      }
    }
  }
}

TEST_P(Zero, WithSgdAndRecomputation) {
  for (const char* precision : {"fp64", "fp32", "bf16"}) {
    LayoutOptions options{.precision = precision, .optimizer = "sgd", .learning_rate = 0.3};
    const NamedValues want = bits_of(run_on_threads(variant_, options, 1));
    options.recompute = "full";
    for (int zero_stage : {0, 1}) {
      options.zero_stage = zero_stage;
      EXPECT_EQ(first_bit_difference(bits_of(run_on_threads(variant_, options, 2)), want), "")
          << precision << " zero " << zero_stage;
    }
  }
}

// One step on each layout, every one going on from the checkpoint of the one before.
TEST_P(ZeroCheckpoints, GoOnUnderAnyOther) {
  struct Layout {
    int dp, zero_stage;
  };
  constexpr Layout kLayouts[] = {{2, 1}, {1, 1}, {4, 1}, {4, 0}, {8, 1}, {2, 0}, {8, 1}};
  for (const char* precision : {"fp64", "fp32", "bf16"}) {
    LayoutOptions options{.precision = precision, .steps = std::ssize(kLayouts)};
    const NamedValues want = bits_of(run_on_threads(variant_, options, 1));
    const TemporaryFolder folder;
    NamedValues got;
    for (int64_t step = 1; step <= options.steps; ++step) {
      const Layout layout = kLayouts[step - 1];
      options.zero_stage = layout.zero_stage;
      run_ranks(layout.dp, [&](const Group& world) {
        Engine engine = pretrain_engine(plan_of(variant_, options, world.size()), world);
        if (step == 1) {
          load_weights(engine.role(), initial_weights(variant_));
        } else {
          const std::optional<Manifest> manifest = find_newest_valid(world, folder.path());
          load_tensors(world, manifest.value(), role_tensors(engine.role()));
          engine.role().optimizer().values_from_masters();
          engine.role().set_updates(step - 1);
        }
        const StepResult result = engine.step(own_batches(variant_, world, step), step);
        if (world.rank() == 0) got["grad_norm"].push_back(result.grad_norm);
        CheckpointWriter writer(world, folder.path(), {});
        writer.save(step, role_tensors(engine.role()), {});
        EXPECT_TRUE(writer.finish());
        if (step < options.steps) return;
        const NamedValues state = bits_of_state(engine);
        if (world.rank() == 0) got.insert(state.begin(), state.end());
      });
    }
    for (const auto& [name, values] : got)
      EXPECT_EQ(first_bit_difference({{name, values}}, {{name, want.at(name)}}), "") << precision;
    EXPECT_TRUE(verify_checkpoint(folder / "step-00000007").ok);
  }
}

// Experts on other ranks: their replicas are fewer than the ranks, down to one.
TEST(ZeroExperts, OnAndOffHaveTheSameBits) {
  for (const char* name : {"moe", "moe_normalized_tied"}) {
    for (const char* precision : {"fp64", "fp32", "bf16"}) {
      for (const int ep : {1, 2}) {
        for (const int etp : {1, 2}) {
          for (const int ranks : {4, 8}) {
            LayoutOptions options{.precision = precision,
                                  .steps = 2,
                                  .zero_stage = 0,
                                  .expert_parallel_size = ep,
                                  .expert_tensor_parallel_size = etp};
            const NamedValues want = bits_of(run_on_threads(find_variant(name), options, ranks));
            options.zero_stage = 1;
            EXPECT_EQ(first_bit_difference(
                          bits_of(run_on_threads(find_variant(name), options, ranks)), want),
                      "")
                << name << " " << precision << " dp " << ranks << " ep " << ep << " etp " << etp;
          }
        }
      }
    }
  }
}

// Ranges of rectangles: what expert and expert-tensor ranks wrote with ZeRO is whole elsewhere.
TEST(ZeroExperts, CheckpointsAreReadByAnyOtherLayout) {
  const Variant& variant = find_variant("moe");
  const TemporaryFolder folder;
  NamedValues want;
  const auto train_and_save = [&](const Group& world) {
    const LayoutOptions options{
        .precision = "bf16", .expert_parallel_size = 2, .expert_tensor_parallel_size = 2};
    Engine engine = pretrain_engine(plan_of(variant, options, 8), world);
    engine.step(own_batches(variant, world, 1), 1);
    CheckpointWriter writer(world, folder.path(), {});
    writer.save(1, role_tensors(engine.role()), {});
    EXPECT_TRUE(writer.finish());
    const NamedValues state = bits_of_state(engine);
    if (world.rank() == 0) want = state;
  };
  run_ranks(8, train_and_save);
  for (const int ep : {1, 2, 4}) {
    for (const int zero_stage : {0, 1}) {
      run_ranks(4, [&](const Group& world) {
        const LayoutOptions options{
            .precision = "bf16", .zero_stage = zero_stage, .expert_parallel_size = ep};
        Engine engine = pretrain_engine(plan_of(variant, options, 4), world);
        const std::optional<Manifest> manifest = find_newest_valid(world, folder.path());
        load_tensors(world, manifest.value(), role_tensors(engine.role()));
        engine.role().optimizer().values_from_masters();
        EXPECT_EQ(first_bit_difference(bits_of_state(engine), want), "") << ep << " " << zero_stage;
      });
    }
  }
}

// A rank that sees a norm that is not finite keeps all from updating; the next step is as if the
// bad one had not been.
TEST(ZeroEngine, SkipsTogether) {
  const Variant& variant = find_variant("moe");
  for (const char* precision : {"fp32", "bf16"}) {
    NamedValues states[2];
    for (int zero_stage : {0, 1}) {
      run_ranks(4, [&](const Group& world) {
        context().failpoint = "step.norm:rank=2:step=2:nan";
        const LayoutOptions options{.precision = precision, .zero_stage = zero_stage};
        Engine engine = pretrain_engine(plan_of(variant, options, 4), world);
        for (int64_t step = 1; step <= 3; ++step)
          EXPECT_EQ(engine.step(own_batches(variant, world, step), step).skipped, step == 2);
        EXPECT_EQ(engine.role().updates(), 2);
        const NamedValues state = bits_of_state(engine);
        if (world.rank() == 0) states[zero_stage] = state;
      });
    }
    EXPECT_EQ(first_bit_difference(states[1], states[0]), "");
    run_ranks(4, [&](const Group& world) {
      Engine engine = pretrain_engine(plan_of(variant, {.precision = precision}, 4), world);
      engine.step(own_batches(variant, world, 1), 1);
      engine.step(own_batches(variant, world, 3), 2);
      EXPECT_EQ(first_bit_difference(bits_of_state(engine), states[1]), "");
    });
  }
}

// A gradient that is not finite in one slice is seen by the ranks that own the others.
TEST(ZeroEngine, AnInfiniteGradientIsSeenByAllRanks) {
  const Variant& variant = find_variant("dense_gqa");
  run_ranks(4, [&](const Group& world) {
    Engine engine = pretrain_engine(plan_of(variant, {.precision = "fp32"}, 4), world);
    NamedValues weights = initial_weights(variant);
    weights.at("model.norm.weight")[3] = 1e38;
    load_weights(engine.role(), weights);
    const StepResult result = engine.step(own_batches(variant, world, 1), 1);
    EXPECT_FALSE(std::isfinite(result.grad_norm));
    EXPECT_TRUE(result.skipped);
  });
}

// Decoding and evaluating right after a step wait for the values too, of a rank that is late with
// its own.
TEST(ZeroEngine, DecodesOnOneRankAfterAStep) {
  const Variant& variant = find_variant("moe");
  std::vector<double> logits[2];
  for (int zero_stage : {0, 1}) {
    run_ranks(4,
              [&](const Group& world) {
                context().failpoint = "step.optimizer:rank=1:step=1:sleep=200";
                const LayoutOptions options{.precision = "bf16", .zero_stage = zero_stage};
                Engine engine = pretrain_engine(plan_of(variant, options, 4), world);
                engine.step(own_batches(variant, world, 1), 1);
                if (world.rank() != 0) return;
                KvCache cache = engine.role().model().make_cache(1);
                logits[zero_stage] = engine.role().model().decode({{3, 1, 4}}, cache).to_doubles();
              },
              {.check_collectives = false});  // which would wait for it
  }
  EXPECT_EQ(logits[1], logits[0]);
  EXPECT_FALSE(logits[0].empty());
}

// Bytes by category, a rank's: values, 4 for each slot of gradients, 12 over the ranks for master
// and moments (f32 parameters have no master of their own).  Slices are even to a block of 4,096
// elements a bucket, members begin at multiples of 64.
TEST(ZeroMemory, IsTheFormula) {
  const Variant variant = with_micro_batches(wide_variant(), 8);
  for (const int dp : {1, 2, 4, 8}) {
    for (const int zero_stage : {0, 1}) {
      run_ranks(dp, [&](const Group& world) {
        const LayoutOptions options{
            .precision = "bf16", .zero_stage = zero_stage, .bucket_bytes = 1 << 20};
        const Engine engine = pretrain_engine(plan_of(variant, options, dp), world);
        engine.role().gradients().set_lanes(plan_lanes(8, dp, 8));  // as a step does
        double values = 0, gradients = 0, state = 0;
        for (const auto& parameter : engine.role().store().all()) {
          const auto n = static_cast<double>(parameter->numel());
          const bool narrow = parameter->dtype() == DType::kBF16;
          values += n * (narrow ? 2 : 4);
          gradients += n * 4 * static_cast<double>(plan_lanes(8, dp, 8).slots);
          state += n * (narrow ? 12 : 8);
        }
        const double share = zero_stage == 1 ? 1.0 / dp : 1.0;
        const double block = dp > 1 && zero_stage == 1 ? 12.0 * kNormBlock : 0;
        const auto buckets = static_cast<double>(engine.role().gradients().buckets().size());
        const auto bytes = [](MemoryCategory category) {
          return static_cast<double>(context().ledger->bytes(category));
        };
        EXPECT_NEAR(bytes(MemoryCategory::kParameters), values, 0.01 * values);
        EXPECT_NEAR(bytes(MemoryCategory::kGradients), gradients, 0.01 * gradients);
        EXPECT_NEAR(bytes(MemoryCategory::kOptimizer), state * share, buckets * block);
        EXPECT_LE(buckets * block, 0.3 * state);
        if (world.rank() > 0) return;
        const auto n = static_cast<double>(engine.role().store().numel());
        std::printf(
            "  dp %d zero %d, bytes per parameter: values %.2f, gradients %.2f (%d slots), "
            "optimizer %.2f\n",
            dp, zero_stage, bytes(MemoryCategory::kParameters) / n,
            bytes(MemoryCategory::kGradients) / n, static_cast<int>(plan_lanes(8, dp, 8).slots),
            bytes(MemoryCategory::kOptimizer) / n);
      });
    }
  }
}

}  // namespace
}  // namespace orthant::testing
