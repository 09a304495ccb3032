// SPDX-License-Identifier: Apache-2.0
// The balance losses: numbers that can be worked out by hand, and gradients against finite
// differences.
#include "moe/balance.h"

#include <gtest/gtest.h>

#include <cmath>

#include "moe/protected_rows.h"

namespace orthant {
namespace {

Tensor ones(int64_t n) {
  return Tensor::from_i32({n}, std::vector<int32_t>(static_cast<size_t>(n), 1));
}

struct Rule {
  int64_t tokens = 8, experts = 8, slots = 2, groups = 4, top_groups = 2;
  ScoreKind score = ScoreKind::kSoftmax;
};

RouterOptions options_of(const Rule& rule, const BalanceConfig& config) {
  return {.experts_per_token = rule.slots,
          .sequence_length = rule.tokens,
          .score = rule.score,
          .num_groups = rule.groups,
          .top_groups = rule.top_groups,
          .plain_counts = config.sequence != 0};
}

BalanceTerms terms_of(const Rule& rule, const BalanceConfig& config, const Tensor& logits,
                      const Tensor& valid, const Tensor& replay) {
  RouterOptions options = options_of(rule, config);
  options.replay = replay;
  const Routes routes = choose_experts(logits, valid, options);
  double tokens = 0;
  for (const double v : valid.to_doubles()) tokens += v;
  return balance_losses(config, {rule.slots, rule.top_groups}, routes.sums,
                        Tensor::from({1}, {{tokens}}, DType::kF64));
}

double loss_per_token(const Rule& rule, const BalanceConfig& config, const Tensor& logits,
                      const Tensor& replay = {}) {
  return terms_of(rule, config, logits, ones(rule.tokens), replay).losses.to_doubles()[0] /
         static_cast<double>(rule.tokens);
}

// Equal scores, and choices that visit every expert equally often and exactly M groups a token:
// f = f' = f'' = 1 and the losses are their factors.
TEST(Balance, IsTheSumOfTheFactorsWhenPerfect) {
  const BalanceConfig v2{.expert = 0.003, .device = 0.05, .communication = 0.02, .sequence = 0};
  std::vector<int32_t> ids;
  for (int32_t t = 0; t < 8; ++t) {  // experts t and t + 2 (mod 8): two neighbouring groups
    ids.push_back(t);
    ids.push_back((t + 2) % 8);
  }
  const Tensor replay = Tensor::from_i32({8, 2}, ids), logits = Tensor::zeros({8, 8}, DType::kF64);
  EXPECT_NEAR(loss_per_token({}, v2, logits, replay), 0.073, 1e-14);
  const BalanceConfig each[] = {{.expert = 0.3, .sequence = 0},
                                {.expert = 0, .device = 0.3, .sequence = 0},
                                {.expert = 0, .communication = 0.3, .sequence = 0}};
  for (const BalanceConfig& config : each)
    EXPECT_NEAR(loss_per_token({}, config, logits, replay), 0.3, 1e-14);
  const Rule sigmoid{.score = ScoreKind::kSigmoid};
  EXPECT_NEAR(loss_per_token(sigmoid, v2, logits, replay), 0.073, 1e-14);
}

// Everybody goes to experts 0 and 1 of the first group, by logits of 60: f = 4, 4, 0, ...; f' = 4,
// 0, ...; f'' = 4 / 2, 0, ...; P = 1/2, 1/2, 0, ...: the worst that losses can be.
TEST(Balance, AllTokensToOneGroup) {
  std::vector<double> rigged(64, 0.0);
  for (size_t t = 0; t < 8; ++t) rigged[t * 8] = rigged[t * 8 + 1] = 60.0;
  const Tensor logits = Tensor::from({8, 8}, rigged, DType::kF64);
  const BalanceConfig config{.expert = 1, .device = 10, .communication = 100, .sequence = 0};
  EXPECT_NEAR(loss_per_token({}, config, logits), 4 + 40 + 200, 1e-9);
  // An expert without tokens has f = 0 and no gradient of its own; its group has one.
  const BalanceTerms terms = terms_of({}, config, logits, ones(8), {});
  const std::vector<double> coef = terms.score_coef.to_doubles();
  EXPECT_NEAR(coef[0], 244, 1e-12);
  EXPECT_EQ(coef[7], 0);
}

// DeepSeek-V3's loss counts the best raw scores, whatever the groups did.
TEST(Balance, SequenceLossCountsRawScores) {
  // Expert 7 is the best of all, but its group is closed: the first two groups hold 2nd to 5th.
  std::vector<double> rigged;
  for (int t = 0; t < 8; ++t) rigged.insert(rigged.end(), {5, 5, 4, 4, 0, 0, 0, 6});
  const Tensor logits = Tensor::from({8, 8}, rigged, DType::kF64);
  const BalanceConfig config{.expert = 0, .sequence = 1.0};
  Rule rule{.top_groups = 1, .score = ScoreKind::kSigmoid};
  RouterOptions options = options_of(rule, config);
  options.group_best = 2;
  const Routes routes = choose_experts(logits, ones(8), options);
  EXPECT_EQ(routes.sums.counts.to_doubles(), (std::vector<double>{8, 8, 0, 0, 0, 0, 0, 0}));
  const BalanceTerms terms =
      balance_losses(config, {2, 1}, routes.sums, Tensor::from({1}, {{8.0}}, DType::kF64));
  EXPECT_EQ(terms.score_coef.to_doubles(), (std::vector<double>{4, 0, 0, 0, 0, 0, 0, 4}));
}

TEST(Balance, AMaskedSequenceHasNoLoss) {
  const BalanceTerms terms = terms_of(
      {}, {.expert = 1, .device = 1, .communication = 1, .sequence = 0},
      Tensor::zeros({8, 8}, DType::kF64), Tensor::from_i32({8}, std::vector<int32_t>(8, 0)), {});
  EXPECT_EQ(terms.losses.to_doubles(), std::vector<double>{0});
}

// Every loss by itself, through the router's gradient, padding included.
TEST(Balance, GradientsMatchFiniteDifferences) {
  const BalanceConfig configs[] = {{.expert = 0.7, .sequence = 0},
                                   {.expert = 0, .device = 0.7, .sequence = 0},
                                   {.expert = 0, .communication = 0.7, .sequence = 0},
                                   {.expert = 0, .sequence = 0.7}};
  for (const ScoreKind score : {ScoreKind::kSoftmax, ScoreKind::kSigmoid}) {
    for (const BalanceConfig& config : configs) {
      const Rule rule{.score = score};
      std::vector<double> values;
      for (int i = 0; i < 64; ++i) values.push_back(std::sin(7.0 * i) * 1.5);
      const Tensor logits = Tensor::from({8, 8}, values, DType::kF64);
      const Tensor valid = Tensor::from_i32({8}, {{1, 1, 0, 1, 1, 1, 0, 1}});
      RouterOptions options = options_of(rule, config);
      options.replay = choose_experts(logits, valid, options).ids;
      const BalanceTerms terms = terms_of(rule, config, logits, valid, options.replay);
      const Var x = Var::leaf(logits);
      const Routes routes = choose_experts(logits, valid, options);
      backward(route(x, valid, routes, options, {.score_coef = terms.score_coef}),
               Tensor::zeros({8, 2}, DType::kF64));
      const auto loss = [&] {
        return terms_of(rule, config, logits, valid, options.replay).losses.to_doubles()[0];
      };
      double largest = 0;
      for (int64_t i = 0; i < logits.numel(); ++i) {
        double& element = logits.as<double>()[i];
        const double keep = element, h = 1e-5;
        element = keep + h;
        const double up = loss();
        element = keep - h;
        const double down = loss();
        element = keep;
        EXPECT_NEAR(x.grad().as<double>()[i], (up - down) / (2 * h), 1e-8) << i;
        largest = std::max(largest, std::abs(up - down) / (2 * h));
      }
      EXPECT_GT(largest, 1e-3);
    }
  }
}

// XXH3-64 of the eight bytes, as any program computes it.
TEST(ProtectedRows, AreATenthOfTheSamples) {
  std::vector<int64_t> below_100;
  int64_t count = 0;
  for (int64_t id = 0; id < 100000; ++id) {
    if (!is_protected_sample(id)) continue;
    ++count;
    if (id < 100) below_100.push_back(id);
  }
  EXPECT_EQ(below_100, (std::vector<int64_t>{19, 42, 44, 48, 77, 81, 90, 91}));
  EXPECT_EQ(count, 10032);
  EXPECT_FALSE(is_protected_sample(-1));
  const std::vector<int64_t> ids = {19, 20, -1};
  EXPECT_EQ(protected_rows(ids, Device{}).to_doubles(), (std::vector<double>{1, 0, 0}));
}

}  // namespace
}  // namespace orthant
