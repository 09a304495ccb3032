// SPDX-License-Identifier: Apache-2.0
// Sliding windows, as published config.json files give them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/config/config.h"
#include "base/error.h"
#include "trainer/run_plan.h"

namespace orthant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ModelConfig resolved(const std::string& keys) {
  const std::string text = concat(
      "run: {max_steps: 1}\nbatch: {sequence_length: 16}\ndata: {train: a.txt}\n",
      "model: {hidden_size: 32, num_hidden_layers: 4, num_attention_heads: 4, ", keys, "}\n");
  return RunPlan(parse_config<RunConfig>(text, "f.yaml").config, 1).config().model;
}

std::vector<int64_t> windows(const std::string& keys) {
  const ModelConfig model = resolved(keys);
  std::vector<int64_t> result;
  for (int64_t layer = 0; layer < model.num_hidden_layers; ++layer)
    result.push_back(model.window_of(layer));
  return result;
}

std::string fault(const std::string& keys) {
  try {
    resolved(keys);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    return error.what();
  }
  return "no fault";
}

TEST(WindowConfig, AllLayersSlideUnlessSaidOtherwise) {
  EXPECT_THAT(windows("vocab_size: 9"), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(windows("\"sliding_window\": null"), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(windows("\"sliding_window\": 4096"), ElementsAre(4096, 4096, 4096, 4096));
  EXPECT_THAT(windows("\"sliding_window\": 8, \"use_sliding_window\": false"),
              ElementsAre(0, 0, 0, 0));
}

TEST(WindowConfig, PatternAndTypesChooseLayers) {
  EXPECT_THAT(windows("\"sliding_window\": 8, \"sliding_window_pattern\": 3"),
              ElementsAre(8, 8, 0, 8));
  EXPECT_THAT(windows("\"sliding_window\": 8, \"layer_types\": [\"full_attention\", "
                      "\"sliding_attention\", \"sliding_attention\", \"full_attention\"]"),
              ElementsAre(0, 8, 8, 0));
}

TEST(WindowConfig, RefusesWhatCannotBe) {
  EXPECT_THAT(fault("sliding_window: -1"), HasSubstr("model.sliding_window"));
  EXPECT_THAT(fault("sliding_window: 8, layer_types: [full_attention]"),
              HasSubstr("model.layer_types: want one for each of 4 layers, got 1"));
  const std::string one_slides =
      "layer_types: [full_attention, full_attention, full_attention, sliding_attention]";
  EXPECT_THAT(fault(one_slides), HasSubstr("model.sliding_window: want how many"));
  EXPECT_EQ(fault("sliding_window: 5, " + one_slides), "no fault");
  EXPECT_THAT(fault("layer_types: [full_attention, full, full_attention, full_attention]"),
              HasSubstr("model.layer_types[1].type"));
}

TEST(WindowConfig, LeadingLayersMaySeeEverything) {
  EXPECT_THAT(windows("sliding_window: 8, max_window_layers: 3"), ElementsAre(0, 0, 0, 8));
  EXPECT_THAT(windows("sliding_window: 8, max_window_layers: 28"), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(windows("max_window_layers: 2"), ElementsAre(0, 0, 0, 0));
}

// Keys that a token sees on average, by hand: of 16 tokens, 8 within the limit of the formula.
TEST(WindowConfig, FlopsCountWhatIsSeen) {
  const ModelConfig full = resolved("head_dim: 8"), all = resolved("sliding_window: 4");
  const double per_key = 6.0 * 4 * (8 + 8);
  EXPECT_DOUBLE_EQ(flops_per_token(full, 16) - flops_per_token(all, 16),
                   4 * (8.0 - (4.0 - 16.0 / 32)) * per_key);
  EXPECT_EQ(flops_per_token(resolved("sliding_window: 16"), 16), flops_per_token(full, 16));
  EXPECT_EQ(flops_per_token(resolved("sliding_window: 99"), 16), flops_per_token(full, 16));
}

// As the last layer, with the head once more and a product of twice the width.
TEST(WindowConfig, ALayerForMultiTokenPredictionIsLikeTheLast) {
  const std::string pattern = "sliding_window: 4, sliding_window_pattern: 4, tie_word_embeddings: ";
  const std::string mtp = ", num_nextn_predict_layers: 1";
  const ModelConfig with = resolved(pattern + "false" + mtp), without = resolved(pattern + "false");
  EXPECT_EQ(with.window_of(4), with.window_of(3));
  EXPECT_NE(with.window_of(4), with.window_of(2));
  EXPECT_DOUBLE_EQ(flops_per_token(with, 16) - flops_per_token(without, 16),
                   layer_flops_per_token(without, 16, 3) +
                       6.0 * static_cast<double>(with.vocab_size * 32 + 2 * 32 * 32));
}

}  // namespace
}  // namespace orthant
