// SPDX-License-Identifier: Apache-2.0
// Recomputation changes memory and no bit; what is predicted of every rank's memory is what a step
// holds; context-parallel ranks share what a long sequence takes.
#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <random>

#include "base/context.h"
#include "base/text.h"
#include "parallel/comm/threads/run_ranks.h"
#include "tests/layouts/engine_run.h"
#include "trainer/memory_plan.h"
#include "trainer/pretrain_engine.h"
#include "trainer/run/memory_report.h"

namespace orthant::testing {
namespace {

constexpr MemoryCategory kExactly[] = {MemoryCategory::kParameters, MemoryCategory::kGradients,
                                       MemoryCategory::kOptimizer};

struct Layout {
  const char* text;
  int ranks;
  LayoutOptions options;
};

// ---- Recomputation.

std::vector<Layout> recomputed_layouts() {
  return {
      {"one rank", 1, {}},
      {"tp 2", 2, {.tensor_parallel_size = 2}},
      {"tp 2 without sp", 2, {.tensor_parallel_size = 2, .sequence_parallel = false}},
      {"ring", 2, {.context_parallel_size = 2}},
      {"ulysses", 2, {.context_parallel_size = 2, .context_parallel_kind = "ulysses"}},
      {"ep 2", 2, {.expert_parallel_size = 2}},
      {"etp 2", 2, {.expert_tensor_parallel_size = 2}},
      {"zb_h1", 2, {.pipeline_parallel_size = 2, .pipeline_schedule = "zb_h1"}},
  };
}

// Counts of tokens are among the bits: nothing is counted twice.
TEST(Recompute, ChangesNoBit) {
  for (const char* name : {"dense_gqa", "moe_v2", "moe_v3"}) {
    const Variant& variant = find_variant(name);
    for (Layout layout : recomputed_layouts()) {
      LayoutOptions& options = layout.options;
      const int64_t experts = options.expert_parallel_size * options.expert_tensor_parallel_size;
      if (experts > 1 && !variant.config.model.is_moe()) continue;
      options.steps = 2;
      for (const char* precision : {"fp64", "fp32", "bf16"}) {
        options.precision = precision;
        options.recompute = "none", options.recompute_layers = 0;
        const NamedValues want = bits_of(run_on_threads(variant, options, layout.ranks));
        for (const char* recompute : {"selective", "full"}) {
          for (const int64_t layers : {0, 1}) {
            options.recompute = recompute, options.recompute_layers = layers;
            const EngineRun run = run_on_threads(variant, options, layout.ranks);
            EXPECT_EQ(first_bit_difference(bits_of(run), want), "")
                << name << ", " << layout.text << ", " << precision << ", " << recompute << " of "
                << layers;
          }
        }
      }
    }
  }
}

TEST(Recompute, CountsRoutingOnce) {
  const Variant& variant = find_variant("moe_v3");
  for (const char* recompute : {"none", "selective", "full"}) {
    const RunPlan plan = plan_of(variant, {.recompute = recompute}, 1);
    const Engine engine = pretrain_engine(plan, Group::self());
    Pass pass(batches_of(variant, 1).front(), engine.role().groups(), Device{});
    const Transformer& model = engine.role().model();
    const Var loss = model.head().loss(model.forward(Var(), pass), pass.labels).sum;
    backward(loss, Tensor::from({1}, {{1.0}}, loss.value().dtype()));
    EXPECT_EQ(static_cast<int64_t>(pass.moe.routings.size()), plan.config().model.num_moe_layers())
        << recompute;
  }
}

// ---- Memory of a step.

Variant memory_variant() {
  Variant variant{.name = "memory"};
  variant.config.model = {.vocab_size = 512,
                          .hidden_size = 64,
                          .intermediate_size = 192,
                          .num_hidden_layers = 4,
                          .num_attention_heads = 4,
                          .num_key_value_heads = 2,
                          .n_routed_experts = 8,
                          .n_shared_experts = 1,
                          .num_experts_per_tok = 2,
                          .moe_intermediate_size = 64,
                          .first_k_dense_replace = 1};
  variant.config.batch = {.micro_batch_size = 1, .global_batch_size = 4, .sequence_length = 512};
  variant.config.data.train = {{.path = "none"}};
  return variant;
}

MicroBatch random_rows(const RunConfig& config, int64_t seed) {
  std::mt19937_64 random(static_cast<uint64_t>(seed));
  const BatchConfig& b = config.batch;
  MicroBatch batch = make_padding_batch(b.micro_batch_size, b.sequence_length, -1);
  std::vector<int32_t> tokens(static_cast<size_t>(b.sequence_length + 1));
  for (int64_t row = 0; row < b.micro_batch_size; ++row) {
    for (int32_t& token : tokens)
      token =
          1 + static_cast<int32_t>(random() % static_cast<uint64_t>(config.model.vocab_size - 1));
    fill_row(batch, row, tokens, 0, row);
  }
  return batch;
}

// By rank, of a step of thread ranks.
std::vector<MemoryPeaks> measure(const RunPlan& plan) {
  const RunConfig& config = plan.config();
  const int ranks = plan.world_size();
  std::vector<MemoryPeaks> peaks(static_cast<size_t>(ranks));
  run_ranks(
      ranks,
      [&](const Group& world) {
        Engine engine = pretrain_engine(plan, world);
        const int64_t own = config.batch.micro_batches() / engine.role().groups().data.size();
        std::vector<MicroBatch> batches;
        for (int64_t i = 0; i < own; ++i)
          batches.push_back(random_rows(config, engine.role().groups().data.rank() * own + i));
        context().ledger->reset_peaks();
        engine.step(batches, 1);
        peaks[static_cast<size_t>(world.rank())] = context().ledger->peaks();
      },
      {.check_collectives = false});
  return peaks;
}

MemoryPeaks measure_one(LayoutOptions options) {
  options.precision = "bf16", options.steps = 1;
  return measure(plan_of(memory_variant(), options, 1)).front();
}

TEST(Recompute, KeepsLess) {
  const auto activations = [](const char* recompute, int64_t layers) {
    const int64_t bytes = measure_one({.recompute = recompute, .recompute_layers = layers})
                              .each[MemoryCategory::kActivations];
    std::cout << "  " << recompute << " of " << layers << " layers: " << bytes << " bytes\n";
    return static_cast<double>(bytes);
  };
  const double none = activations("none", 0), selective = activations("selective", 0),
               full = activations("full", 0);
  EXPECT_LT(selective, 0.78 * none);
  EXPECT_LT(full, 0.6 * selective);
  const double selective_of_2 = activations("selective", 2), full_of_2 = activations("full", 2);
  EXPECT_LT(selective_of_2, 0.95 * none);
  EXPECT_GT(selective_of_2, 1.05 * selective);
  EXPECT_LT(full_of_2, 0.8 * none);
  EXPECT_GT(full_of_2, 1.2 * full);
}

std::vector<Layout> predicted_layouts() {
  return {
      {"one rank", 1, {}},
      {"selective", 1, {.recompute = "selective"}},
      {"full", 1, {.recompute = "full"}},
      {"dp 2 zero 0", 2, {.zero_stage = 0}},
      {"dp 4", 4, {}},
      {"tp 2", 2, {.tensor_parallel_size = 2}},
      {"tp 4 without sp", 4, {.tensor_parallel_size = 4, .sequence_parallel = false}},
      {"cp 4", 4, {.context_parallel_size = 4}},
      {"cp 2 ulysses selective",
       2,
       {.recompute = "selective", .context_parallel_size = 2, .context_parallel_kind = "ulysses"}},
      {"pp 2", 2, {.pipeline_parallel_size = 2}},
      {"pp 4 gpipe", 4, {.pipeline_parallel_size = 4, .pipeline_schedule = "gpipe"}},
      {"pp 2 zb_h1 selective",
       2,
       {.recompute = "selective", .pipeline_parallel_size = 2, .pipeline_schedule = "zb_h1"}},
      {"ep 4", 4, {.expert_parallel_size = 4}},
      {"ep 2 etp 2", 4, {.expert_parallel_size = 2, .expert_tensor_parallel_size = 2}},
      {"pp 2 tp 2 ep 2",
       4,
       {.tensor_parallel_size = 2, .pipeline_parallel_size = 2, .expert_parallel_size = 2}},
  };
}

// Activations to 15%: experts of a fresh router do not get the same number of tokens each.
TEST(MemoryPlan, IsWhatAStepHolds) {
  double worst = 0;
  for (const char* precision : {"bf16", "fp32"}) {
    for (Layout layout : predicted_layouts()) {
      layout.options.precision = precision;
      const RunPlan plan = plan_of(memory_variant(), layout.options, layout.ranks);
      const std::vector<MemoryPeaks> want = measure(plan);
      const std::vector<MemoryPeaks> got = predict_memory(plan);
      for (size_t rank = 0; rank < want.size(); ++rank) {
        const std::string where = concat(precision, ", ", layout.text, ", rank ", rank);
        for (const MemoryCategory category : kExactly)
          EXPECT_EQ(got[rank].each[category], want[rank].each[category])
              << where << ", " << name_of(category);
        const auto held = static_cast<double>(want[rank].each[MemoryCategory::kActivations]);
        const auto predicted = static_cast<double>(got[rank].each[MemoryCategory::kActivations]);
        EXPECT_NEAR(predicted / held, 1.0, 0.15) << where;
        worst = std::max(worst, std::abs(predicted / held - 1.0));
        EXPECT_EQ(got[rank].each[MemoryCategory::kWorkspace],
                  want[rank].each[MemoryCategory::kWorkspace])
            << where;
      }
    }
  }
  std::cout << "  activations off by " << 100 * worst << "% at most\n";
}

// A base in few bits is counted as it is held: what is made of it is one product's, and is gone.
TEST(MemoryPlan, CountsAQuantisedBaseAsItIsHeld) {
  Variant whole = memory_variant();
  whole.config.lora.rank = 2;
  Variant nf4 = whole;
  nf4.config.quantization.format = Quantization::kNf4;
  const std::vector<Layout> layouts = {
      {"one rank", 1, {}},
      {"tp 2", 2, {.tensor_parallel_size = 2}},
      {"pp 2 zb_h1", 2, {.pipeline_parallel_size = 2, .pipeline_schedule = "zb_h1"}},
      {"ep 2 etp 2", 4, {.expert_parallel_size = 2, .expert_tensor_parallel_size = 2}}};
  for (Layout layout : layouts) {
    layout.options.precision = "bf16";
    const RunPlan plan = plan_of(nf4, layout.options, layout.ranks);
    const std::vector<MemoryPeaks> want = measure(plan), got = predict_memory(plan);
    const std::vector<MemoryPeaks> plain =
        predict_memory(plan_of(whole, layout.options, layout.ranks));
    for (size_t rank = 0; rank < want.size(); ++rank) {
      const std::string where = concat(layout.text, ", rank ", rank);
      for (const MemoryCategory category : kExactly)
        EXPECT_EQ(got[rank].each[category], want[rank].each[category])
            << where << ", " << name_of(category);
      EXPECT_EQ(got[rank].each[MemoryCategory::kWorkspace],
                want[rank].each[MemoryCategory::kWorkspace])
          << where;
      // In bf16 products keep a weight three times: as it is, and packed for both ways.
      EXPECT_LT(static_cast<double>(got[rank].each[MemoryCategory::kParameters]),
                0.6 * static_cast<double>(plain[rank].each[MemoryCategory::kParameters]))
          << where;
    }
  }
}

// ---- One long sequence.

TEST(LongContext, ContextParallelRanksHoldAShare) {
  constexpr int kRanks = 4;
  constexpr double kShare = 0.30;
  Variant variant = memory_variant();
  variant.config.model.num_hidden_layers = 10;
  variant.config.model.num_key_value_heads = 4;  // what ulysses can share
  variant.config.batch = {.micro_batch_size = 1, .global_batch_size = 1, .sequence_length = 2048};
  const int64_t logits_bytes =
      variant.config.batch.sequence_length * variant.config.model.vocab_size * size_of(DType::kF32);
  for (const char* recompute : {"none", "selective"}) {
    LayoutOptions options{.precision = "bf16", .recompute = recompute};
    const MemoryPeaks one = measure(plan_of(variant, options, 1)).front();
    EXPECT_LE(one.block_bytes, logits_bytes / 2) << "tokens x vocabulary";
    options.context_parallel_size = kRanks;
    for (const char* kind : {"ring", "ulysses"}) {
      options.context_parallel_kind = kind;
      MemoryPeaks most;
      for (const MemoryPeaks& rank : measure(plan_of(variant, options, kRanks))) most.merge(rank);
      const double share =
          static_cast<double>(most.step_bytes) / static_cast<double>(one.step_bytes);
      const std::string where = concat(kind, ", recompute ", recompute);
      std::cout << "  " << where << ": " << human_bytes(static_cast<double>(most.step_bytes))
                << " of " << human_bytes(static_cast<double>(one.step_bytes)) << ", " << 100 * share
                << "%\n";
      EXPECT_LE(share, kShare) << where;
      EXPECT_LE(most.block_bytes, logits_bytes / 4) << where << ": tokens x vocabulary";
    }
  }
}

}  // namespace
}  // namespace orthant::testing
