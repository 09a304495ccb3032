// SPDX-License-Identifier: Apache-2.0
// The keys of routing and balance: blocks of published config.json files, scaled down, and
// combinations that cannot be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/config/config.h"
#include "base/error.h"
#include "trainer/run_plan.h"

namespace orthant {
namespace {

using ::testing::HasSubstr;

// `keys` of the model block and `more` blocks, resolved.
RunConfig resolved(const std::string& keys, const std::string& more = "") {
  const std::string text =
      concat("run: {max_steps: 1}\nbatch: {sequence_length: 8}\ndata: {train: a.txt}\n", more,
             "\nmodel: {hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, ",
             "moe_intermediate_size: 8, ", keys, "}\n");
  return RunPlan(parse_config<RunConfig>(text, "f.yaml").config, 1).config();
}

std::string fault(const std::string& keys, const std::string& more = "") {
  try {
    resolved(keys, more);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    return error.what();
  }
  return "no fault";
}

// deepseek-ai/DeepSeek-V2: 160 experts in 8 groups of which 3 are open, 6 a token.
constexpr const char* kV2 =
    "\"aux_loss_alpha\": 0.001, \"first_k_dense_replace\": 1, \"moe_layer_freq\": 1, \"n_group\": "
    "8, "
    "\"n_routed_experts\": 16, \"n_shared_experts\": 2, \"norm_topk_prob\": false, "
    "\"num_experts_per_tok\": 6, \"routed_scaling_factor\": 16.0, \"scoring_func\": \"softmax\", "
    "\"seq_aux\": true, \"topk_group\": 3, \"topk_method\": \"group_limited_greedy\"";
// deepseek-ai/DeepSeek-V2-Lite: 64 experts, 6 a token, no groups.
constexpr const char* kV2Lite =
    "\"aux_loss_alpha\": 0.001, \"first_k_dense_replace\": 1, \"moe_layer_freq\": 1, \"n_group\": "
    "1, "
    "\"n_routed_experts\": 16, \"n_shared_experts\": 2, \"norm_topk_prob\": false, "
    "\"num_experts_per_tok\": 6, \"routed_scaling_factor\": 1.0, \"scoring_func\": \"softmax\", "
    "\"seq_aux\": true, \"topk_group\": 1, \"topk_method\": \"greedy\"";
// deepseek-ai/DeepSeek-V3: 256 experts in 8 groups of which 4 are open, 8 a token.
constexpr const char* kV3 =
    "\"aux_loss_alpha\": 0.0002, \"first_k_dense_replace\": 1, \"moe_layer_freq\": 1, \"n_group\": "
    "8, "
    "\"n_routed_experts\": 32, \"n_shared_experts\": 1, \"norm_topk_prob\": true, "
    "\"num_experts_per_tok\": 8, \"routed_scaling_factor\": 2.5, \"scoring_func\": \"sigmoid\", "
    "\"seq_aux\": true, \"topk_group\": 4, \"topk_method\": \"noaux_tc\"";

TEST(RoutingConfig, TakesPublishedBlocks) {
  const RunConfig v2 = resolved(kV2), lite = resolved(kV2Lite), v3 = resolved(kV3);
  EXPECT_EQ(v2.model.n_group, 8);
  EXPECT_EQ(v2.moe.balance.expert, 0.001);
  EXPECT_EQ(v2.moe.balance.sequence, 0);
  EXPECT_EQ(v2.moe.bias_update_rate, 0);
  EXPECT_EQ(v2.moe.capacity_factor, 0);
  EXPECT_FALSE(lite.model.has_router_bias());
  EXPECT_TRUE(v3.model.has_router_bias());
  EXPECT_EQ(v3.moe.balance.expert, 0);
  EXPECT_EQ(v3.moe.balance.sequence, 0.0002);
  EXPECT_EQ(v3.moe.bias_update_rate, 0.001);
  // The bias is E parameters of the layer with experts, and no operation.
  ModelConfig no_bias = v3.model;
  no_bias.topk_method = TopkMethod::kGreedy;
  EXPECT_EQ(total_parameters(v3.model), total_parameters(no_bias) + 32);
  EXPECT_EQ(flops_per_token(v3.model, 8), flops_per_token(no_bias, 8));
}

TEST(RoutingConfig, SettlesWhatIsLeftOpen) {
  const char* plain = "n_routed_experts: 4, num_experts_per_tok: 2, n_group: null";
  EXPECT_EQ(resolved(plain).moe.balance.expert, 0.001);
  EXPECT_EQ(resolved(plain, "moe: {balance: {expert: 0}}").moe.balance.expert, 0);
  EXPECT_EQ(resolved(kV2, "moe: {balance: {expert: 0.003}}").moe.balance.expert, 0.003);
  const RunConfig v3 = resolved(kV3, "moe: {bias_update_rate: 0, balance: {sequence: 0}}");
  EXPECT_EQ(v3.moe.bias_update_rate, 0);
  EXPECT_EQ(v3.moe.balance.sequence, 0);
}

TEST(RoutingConfig, RefusesWhatCannotBe) {
  const std::string base = "num_experts_per_tok: 4, n_routed_experts: 12, ";
  const std::string limited = base + "topk_method: group_limited_greedy, ";
  EXPECT_THAT(fault(limited + "n_group: 5"), HasSubstr("model.n_group: 5 does not divide 12"));
  EXPECT_THAT(fault(limited + "n_group: 4, topk_group: 5"), HasSubstr("at most n_group 4, got 5"));
  EXPECT_THAT(fault(limited + "n_group: 4, topk_group: 1"),
              HasSubstr("1 groups of 3 experts have 3, want at least num_experts_per_tok 4"));
  EXPECT_THAT(fault(base + "n_group: 4, topk_group: 2"), HasSubstr("greedy knows no groups"));
  EXPECT_THAT(fault(base + "topk_method: noaux_tc"), HasSubstr("wants scoring_func sigmoid"));
  EXPECT_THAT(fault(base, "moe: {balance: {device: 0.1}}"), HasSubstr("moe.balance.device: 0.1"));
  EXPECT_THAT(fault(base, "moe: {balance: {communication: 0.1}}"),
              HasSubstr("moe.balance.communication: 0.1 wants more than one group"));
  EXPECT_THAT(fault(base, "moe: {capacity_factor: 1}"), HasSubstr("moe.capacity_factor: 1 wants"));
  EXPECT_THAT(fault(base, "moe: {bias_update_rate: 0.1}"), HasSubstr("wants topk_method noaux_tc"));
  EXPECT_THAT(fault(kV3, "moe: {capacity_factor: 1}"), HasSubstr("exclude each other"));
  EXPECT_THAT(fault(base, "moe: {balance: {expert: -0.5}}"), HasSubstr("moe.balance.expert"));
  EXPECT_THAT(fault(base + "seq_aux: false"), HasSubstr("seq_aux"));
}

}  // namespace
}  // namespace orthant
