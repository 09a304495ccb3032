// SPDX-License-Identifier: Apache-2.0
#include "trainer/generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/philox.h"
#include "trainer/sampling.h"

namespace orthant {
namespace {

// With everything sorted, as the definition says.
int32_t draw_of_all(const std::vector<double>& logits, const SamplingConfig& o, double uniform) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto logit = [&](int32_t id) { return logits[static_cast<size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logit(a) > logit(b); });
  if (o.temperature == 0.0) return order[0];
  if (o.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(o.top_k)));
  std::vector<double> weights;
  for (const int32_t id : order)
    weights.push_back(std::exp((logit(id) - logit(order[0])) / o.temperature));
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double kept = 0;
  size_t count = 0;
  while (count < weights.size() && (o.top_p >= 1.0 || kept < o.top_p * total) &&
         weights[count] >= o.min_p)
    kept += weights[count++];
  double left = uniform * kept;
  for (size_t i = 0; i < count; ++i)
    if ((left -= weights[i]) <= 0) return order[i];
  return order[count - 1];
}

TEST(DrawToken, IsThatOfASortedVocabulary) {
  for (const size_t vocab : {1, 3, 70, 1000}) {
    std::vector<double> logits;
    for (uint64_t i = 0; i < vocab; ++i)  // with ties
      logits.push_back(static_cast<double>(philox({1, 2}, 3, i).x[0] % 97) / 30);
    for (const double temperature : {0.0, 0.3, 1.0, 3.0}) {
      for (const int64_t top_k : {0, 1, 5, 65, 2000}) {
        for (const auto& [top_p, min_p] : std::vector<std::pair<double, double>>{
                 {1.0, 0.0}, {0.5, 0.0}, {0.01, 0.0}, {1.0, 0.2}, {0.7, 0.05}, {1.0, 1.0}}) {
          const SamplingConfig options{
              .temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p};
          for (uint64_t draw = 0; draw < 40; ++draw) {
            const double uniform = philox_uniform({5, 6}, draw, 0);
            ASSERT_EQ(draw_token(logits, options, uniform), draw_of_all(logits, options, uniform))
                << vocab << " temperature " << temperature << " k " << top_k << " p " << top_p
                << " min " << min_p << " uniform " << uniform;
          }
          EXPECT_EQ(draw_token(logits, options, 0.9999999999),
                    draw_of_all(logits, options, 0.9999999999));
        }
      }
    }
  }
}

TEST(PenalizeRepetition, DividesPositiveLogitsAndMultipliesOthers) {
  std::vector<double> logits = {2.0, -2.0, 0.5, 0.0, 3.0};
  penalize_repetition(logits, {0, 1, 3, 99}, 2.0);
  EXPECT_EQ(logits, (std::vector<double>{1.0, -4.0, 0.5, 0.0, 3.0}));
  penalize_repetition(logits, {4}, 1.0);
  EXPECT_EQ(logits[4], 3.0);
}

// A model that knows nothing: what it writes is the draws alone.
std::vector<std::vector<int32_t>> drawn(const std::vector<GenerateOptions>& options) {
  ModelConfig config{.vocab_size = 257,
                     .hidden_size = 16,
                     .intermediate_size = 16,
                     .num_hidden_layers = 1,
                     .num_attention_heads = 2};
  config.resolve(64);
  ParameterStore store;
  const Transformer model({.config = config}, store);
  store.initialize(1);
  copy(Tensor::zeros(model.head().weight().shape(), DType::kF32), model.head().weight().value());
  model.head().weight().value_changed();
  std::vector<std::vector<int32_t>> ids;
  for (const Generated& one : generate(Decoder({&model}), *make_tokenizer("byte"), options))
    ids.push_back(one.ids);
  return ids;
}

TEST(Generate, DrawsAreAFunctionOfSeedPromptAndSample) {
  const SamplingConfig sampling{.max_new_tokens = 12, .temperature = 1.0};
  const GenerateOptions text{.prompt = "ab", .sampling = sampling},
      ids{.ids = {1, 2}, .sampling = sampling};
  std::vector<GenerateOptions> options = {text, ids, text, ids};
  for (int i = 0; i < 2; ++i) {
    options.push_back(i == 0 ? text : ids), options.back().sample = 1;
    options.push_back(i == 0 ? text : ids), options.back().seed = 7;
  }
  options.push_back({.prompt = "ac", .sampling = sampling});
  options.push_back({.ids = {1, 3}, .sampling = sampling});
  options.push_back({.ids = {1}, .sampling = sampling});
  const auto got = drawn(options);
  EXPECT_EQ(got[0], got[2]);
  EXPECT_EQ(got[1], got[3]);
  std::set<std::vector<int32_t>> different(got.begin(), got.end());
  EXPECT_EQ(different.size(), options.size() - 2);
}

}  // namespace
}  // namespace orthant
