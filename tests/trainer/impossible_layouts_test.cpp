// SPDX-License-Identifier: Apache-2.0
// Layouts that cannot be: each message names the key, shows the arithmetic and what fits, and the
// nearest layouts that do; and nothing was allocated before it.
#include <gtest/gtest.h>

#include "base/config/config.h"
#include "base/context.h"
#include "base/error.h"
#include "trainer/run_plan.h"

namespace orthant {
namespace {

// 8 heads (4 of keys and values), 6 layers, 12 experts of width 24, 32 tokens, 24 micro-batches.
RunConfig config_with(const std::vector<std::string>& overrides) {
  const std::string text =
      "run: {max_steps: 1}\n"
      "data: {train: a.txt}\n"
      "batch: {sequence_length: 32, micro_batch_size: 2, global_batch_size: 48}\n"
      "model: {hidden_size: 64, num_hidden_layers: 6, num_attention_heads: 8, "
      "num_key_value_heads: 4, n_routed_experts: 12, num_experts_per_tok: 2, "
      "moe_intermediate_size: 24}\n";
  return parse_config<RunConfig>(text, "f.yaml", overrides).config;
}

// "" when it was not refused, or rightly.
std::string refusal(int ranks, const std::vector<std::string>& overrides) {
  const int64_t before = context().ledger->peak_bytes();
  try {
    RunPlan(config_with(overrides), ranks);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_EQ(context().ledger->peak_bytes(), before);
    return error.what();
  }
  return "";
}

struct Impossible {
  std::string name;
  int ranks;
  std::vector<std::string> overrides;
  std::vector<std::string> wanted;  // in the message, in this order
};

const Impossible kImpossible[] = {
    {"ranks and product",
     8,
     {"parallel.tp=2", "parallel.pp=3"},
     {"parallel:",
      "tensor_parallel_size 2 x context_parallel_size 1 x pipeline_parallel_size 3 = 6",
      "does not divide 8 ranks", "1, 2, 4, 8", "multiple of 6",
      "nearest layouts for 8 ranks: dp 1, tp 2, pp 4 (1f1b); dp 2, tp 2, pp 2 (1f1b); dp 4, tp 2"}},
    {"data ranks",
     8,
     {"parallel.dp=4"},
     {"parallel.data_parallel_size", "8 / 1 = 8, got 4", "nearest layouts for 8 ranks: dp 8"}},
    {"heads",
     3,
     {"parallel.tp=3"},
     {"parallel.tensor_parallel_size: 3", "model.num_attention_heads 8", "1, 2, 4, 8",
      "nearest layouts for 3 ranks: dp 3"}},
    {"key heads",
     4,
     {"parallel.tp=4", "model.num_attention_heads=24", "model.num_key_value_heads=6",
      "model.head_dim=8"},
     {"parallel.tensor_parallel_size: 4", "model.num_key_value_heads 6", "1, 2, 3, 6, 12, 24",
      "nearest layouts for 4 ranks: dp 2, tp 2; dp 4"}},
    {"sequence length",
     8,
     {"parallel.cp=8", "batch.sequence_length=40"},
     {"parallel.context_parallel_size: 8", "16 equal chunks", "40 tokens", "32 or 48",
      "batch.sequence_length", "1, 2, 4", "nearest layouts for 8 ranks: dp 2, cp 4 (ring)"}},
    {"Ulysses heads",
     8,
     {"parallel.cp=8", "parallel.context_parallel_kind=ulysses", "batch.sequence_length=64"},
     {"parallel.context_parallel_kind: ulysses: 8", "8 query heads and 4 KV heads",
      "context_parallel_size can be 1, 2, 4", "nearest layouts for 8 ranks: dp 2, cp 4 (ulysses)"}},
    {"layers",
     8,
     {"parallel.pp=8"},
     {"parallel.pipeline_parallel_size: 8 stages", "model.num_hidden_layers is 6",
      "nearest layouts for 8 ranks: dp 2, pp 4 (1f1b)"}},
    {"layers and chunks",
     4,
     {"parallel.pp=4", "parallel.pipeline_schedule=interleaved", "parallel.pipeline_chunks=2"},
     {"8 stages (ranks x chunks)", "nearest layouts for 4 ranks: dp 2, pp 2 (interleaved)"}},
    {"batch",
     7,
     {},
     {"batch.global_batch_size: 48 / micro_batch_size 2 = 24 micro-batches, which 7 ranks",
      "6 or 8", "42 or 56", "no layout of 7 ranks", "on 6: dp 6, on 8: dp 8"}},
    {"micro-batches of DualPipeV",
     4,
     {"parallel.pp=2", "parallel.pipeline_schedule=dualpipev", "batch.global_batch_size=12"},
     {"parallel.pipeline_schedule: ", "at least 4 micro-batches", "got 3",
      "batch.global_batch_size 12 / micro_batch_size 2 / data_parallel_size 2 = 3",
      "nearest layouts for 4 ranks: dp 1, tp 2, pp 2 (dualpipev)"}},
    {"chunks",
     2,
     {"parallel.pp=2", "parallel.pipeline_chunks=2"},
     {"parallel.pipeline_schedule: ", "1f1b: want 1 chunk", "pipeline_chunks 2"}},
    {"one chunk",
     2,
     {"parallel.pp=2", "parallel.pipeline_schedule=interleaved", "parallel.pipeline_chunks=1"},
     {"parallel.pipeline_schedule: ", "at least 2 chunks", "1f1b"}},
    {"ramp",
     2,
     {"parallel.pp=2", "parallel.pipeline_schedule=dualpipev", "batch.ramp_start=6",
      "batch.ramp_increment=6", "batch.ramp_samples=100"},
     {"at least 4 micro-batches", "batch.ramp_start 6 / micro_batch_size 2", "= 3"}},
    {"ramp and replicas",
     4,
     {"batch.ramp_start=12", "batch.ramp_increment=12", "batch.ramp_samples=100"},
     {"batch.ramp_start, batch.ramp_increment", "2 x 4 replicas = 8", "12 and 12", "8 and 8",
      "nearest layouts for 4 ranks: dp 2, tp 2"}},
    {"experts",
     8,
     {"parallel.ep=8"},
     {"parallel.expert_parallel_size: 8", "model.n_routed_experts 12", "1, 2, 4",
      "nearest layouts for 8 ranks: dp 8, ep 4"}},
    {"width of an expert",
     16,
     {"parallel.tp=2", "parallel.etp=16"},
     {"parallel.expert_tensor_parallel_size: 16", "model.moe_intermediate_size 24", "1, 2, 4, 8",
      "nearest layouts for 16 ranks: dp 8, tp 2, etp 8"}},
    {"ranks of a stage",
     8,
     {"parallel.pp=2", "parallel.ep=4", "parallel.etp=2"},
     {"expert_parallel_size: 4 x expert_tensor_parallel_size 2 = 8", "does not divide 4 ranks",
      "1, 2, 4", "nearest layouts for 8 ranks: dp 8, ep 4, etp 2; dp 4, pp 2 (1f1b), ep 2, etp 2"}},
    {"no experts",
     2,
     {"parallel.ep=2", "model.n_routed_experts=0", "model.num_experts_per_tok=0"},
     {"parallel.expert_parallel_size: the model has no experts",
      "nearest layouts for 2 ranks: dp 2"}},
    {"pipeline_layers",
     2,
     {"parallel.pp=2", "parallel.pipeline_layers=[2, 3]"},
     {"parallel.pipeline_layers: want 2 numbers", "num_hidden_layers 6", "2 numbers: 2 + 3 = 5",
      "balanced by operations: [3, 3]"}},
    {"fractions of layers",
     2,
     {"parallel.pp=2", "parallel.pipeline_layers=[2.4, 3.6]"},
     {"parallel.pipeline_layers[0]: want an integer >= 1, got '2.4'"}},
    {"chunks that the schedule has not",
     2,
     {"parallel.pp=2", "parallel.pipeline_chunks=2"},
     {"want 1 chunk", "nearest layouts for 2 ranks, without pipeline_chunks: "}},
    {"pipeline_layers of one rank",
     1,
     {"parallel.pipeline_layers=[5]"},
     {"parallel.pipeline_layers: want 1 numbers", "= 5", "[6]"}},
};

TEST(ImpossibleLayouts, AreRefusedWithTheArithmeticAndTheNearestThatFit) {
  for (const Impossible& impossible : kImpossible) {
    const std::string text = refusal(impossible.ranks, impossible.overrides);
    size_t at = 0;
    for (const std::string& part : impossible.wanted) {
      const size_t found = text.find(part, at);
      EXPECT_NE(found, std::string::npos)
          << impossible.name << ": no '" << part << "' in its place in:\n"
          << text;
      if (found != std::string::npos) at = found + part.size();
    }
  }
}

// Where other sizes would not help, none are proposed.
TEST(ImpossibleLayouts, NoLayoutsWhereSomethingElseIsWrong) {
  for (const auto& overrides :
       std::vector<std::vector<std::string>>{{"parallel.pp=2", "parallel.pipeline_layers=[2, 3]"},
                                             {"batch.global_batch_size=47"},
                                             {"model.hidden_size=63"}}) {
    const std::string text = refusal(2, overrides);
    EXPECT_NE(text, "");
    EXPECT_EQ(text.find("layout"), std::string::npos) << text;
  }
}

// What is proposed does resolve, and a search over many ranks is quick enough to be made.
TEST(ImpossibleLayouts, ProposalsResolve) {
  EXPECT_EQ(refusal(8, {"parallel.tp=2", "parallel.pp=2", "parallel.dp=2"}), "");
  EXPECT_EQ(refusal(8, {"parallel.pp=2", "parallel.dp=4", "parallel.ep=2", "parallel.etp=2"}), "");
  EXPECT_EQ(refusal(4, {"parallel.tp=2", "parallel.pp=2", "parallel.pipeline_schedule=dualpipev",
                        "batch.global_batch_size=12"}),
            "");
  EXPECT_NE(refusal(4096, {"parallel.pp=16"}).find("layout"), std::string::npos);
}

}  // namespace
}  // namespace orthant
