// SPDX-License-Identifier: Apache-2.0
#include "trainer/routing_inspection.h"

#include <gtest/gtest.h>

namespace orthant {
namespace {

ModelConfig small_moe() {
  ModelConfig c{.hidden_size = 16,
                .num_hidden_layers = 3,
                .num_attention_heads = 2,
                .n_routed_experts = 4,
                .num_experts_per_tok = 2,
                .moe_intermediate_size = 8,
                .first_k_dense_replace = 1};
  c.resolve(/*sequence_length=*/5);
  return c;
}

TEST(RoutingInspection, CountsEveryTokenOfEveryDomain) {
  ParameterStore store;
  const Transformer model({.config = small_moe()}, store);
  store.initialize(3);
  // Rows of 5, 5 and 2 tokens, and one of 3.
  const RoutingInspection inspection = inspect_routing(
      model, {{"long", {1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3}}, {"short", {9, 9, 9}}});
  ASSERT_EQ(inspection.layers.size(), 2u);
  for (const LayerInspection& layer : inspection.layers) {
    const double want[] = {24, 6};
    double tokens = 0;
    for (size_t d = 0; d < 2; ++d) {
      double sum = 0;
      for (const double n : layer.counts[d]) sum += n;
      EXPECT_EQ(sum, want[d]);
    }
    for (const auto& of_expert : layer.tokens)
      for (const auto& [token, n] : of_expert) tokens += token == 9 ? n : 0;
    EXPECT_EQ(tokens, 6);
  }
  EXPECT_EQ(inspection.layers[0].layer, 1);
}

TEST(RoutingInspection, DistinctiveTokensAreThoseThatGoNowhereElse) {
  LayerInspection layer;
  layer.counts = {{12, 10}};
  layer.tokens = {{{1, 6}, {2, 5}, {3, 1}}, {{1, 8}, {3, 2}}};
  EXPECT_EQ(distinctive_tokens(layer, 0, 8), (std::vector<int32_t>{2}));
  EXPECT_EQ(distinctive_tokens(layer, 1, 8), (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(distinctive_tokens(layer, 1, 1), (std::vector<int32_t>{1}));
}

TEST(RoutingInspection, PrintsTablesAndJson) {
  RoutingInspection inspection;
  inspection.domains = {{"a.txt", {65, 10}}, {"b.txt", {256}}};
  inspection.layers.push_back(
      {.layer = 7, .counts = {{2, 0}, {0, 1}}, .tokens = {{{65, 1}, {10, 1}}, {{256, 1}}}});
  const auto tokenizer = make_tokenizer("byte");
  const std::string table = routing_table(inspection, *tokenizer);
  for (const char* part : {"a.txt: 2 tokens", "layer 7: greatest load over mean 1.33", "100.0",
                           "% of b.txt", "'A'", "'\\n'", "<end>"})
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
  const std::string json = routing_json(inspection, *tokenizer);
  for (const char* part : {"\"layer\": 7", "\"id\": 65", "\"tokens\": 2.0", "'\\\\n'"})
    EXPECT_NE(json.find(part), std::string::npos) << part << "\n" << json;
}

}  // namespace
}  // namespace orthant
