// SPDX-License-Identifier: Apache-2.0
// Which experts a token chooses, what is counted and dropped, and where the rows go.
#include <gtest/gtest.h>

#include "tests/tensor/op_case.h"

namespace orthant::testing {
namespace {

std::vector<int32_t> ids_of(const Tensor& ids) {
  const auto span = ids.span<int32_t>();
  return {span.begin(), span.end()};
}

// A group counts as its best score (V2) or its best two (V3); ties go to the lower group.
TEST(RouteTest, ChoosesWithinTheBestGroups) {
  const Tensor logits = Tensor::from({1, 6}, {{3.0, -9.0, 2.0, 2.0, 2.9, 0.0}}, DType::kF64);
  RouterOptions options{.experts_per_token = 2, .num_groups = 3, .top_groups = 1};
  EXPECT_EQ(ids_of(choose_experts(logits, ints({1}, {1}), options).ids),
            (std::vector<int32_t>{0, 1}));
  options.score = ScoreKind::kSigmoid;
  options.group_best = 2;
  EXPECT_EQ(ids_of(choose_experts(logits, ints({1}, {1}), options).ids),
            (std::vector<int32_t>{2, 3}));
  const Tensor equal = Tensor::zeros({1, 6}, DType::kF64);
  options.top_groups = 2;
  EXPECT_EQ(ids_of(choose_experts(equal, ints({1}, {1}), options).ids),
            (std::vector<int32_t>{0, 1}));
}

// The bias moves the choice; weights, scores and the plain counts do not see it.
TEST(RouteTest, BiasChoosesButDoesNotWeigh) {
  const Tensor logits = Tensor::from({1, 3}, {{2.0, 1.0, 0.0}}, DType::kF64);
  RouterOptions options{.experts_per_token = 1, .score = ScoreKind::kSigmoid, .plain_counts = true};
  options.bias = Tensor::from({3}, {{0.0, 0.0, 0.7}}, DType::kF64);
  const Routes routes = choose_experts(logits, ints({1}, {1}), options);
  EXPECT_EQ(ids_of(routes.ids), (std::vector<int32_t>{2}));
  EXPECT_NEAR(routes.weights.to_doubles()[0], 0.5, 1e-15);
  EXPECT_EQ(routes.sums.counts.to_doubles(), (std::vector<double>{0, 0, 1}));
  EXPECT_EQ(routes.sums.plain_counts.to_doubles(), (std::vector<double>{1, 0, 0}));
}

// A token that visits two experts of a group is counted there once.
TEST(RouteTest, GroupsCountATokenOnce) {
  RouterOptions options{
      .experts_per_token = 3, .sequence_length = 2, .num_groups = 2, .top_groups = 2};
  options.replay = ints({2, 3}, {0, 1, 2, 1, 2, 3});
  const Routes routes =
      choose_experts(Tensor::zeros({2, 4}, DType::kF32), ints({2}, {1, 1}), options);
  EXPECT_EQ(routes.sums.group_counts.to_doubles(), (std::vector<double>{2, 2}));
}

// Budget ceil(0.75 * 4 * 2 / 2) = 3 of a group; the lowest scores go, and of equal ones the later
// token, of one token the higher expert.
TEST(DropTest, KeepsTheBestOfEveryGroup) {
  const Tensor valid = ints({4}, {1, 1, 1, 1});
  RouterOptions options{
      .experts_per_token = 2, .sequence_length = 4, .num_groups = 2, .top_groups = 2};
  options.replay = ints({4, 2}, {0, 1, 0, 2, 0, 1, 1, 3});
  const auto kept = [&](std::vector<double> logits, int32_t is_protected) {
    const Routes routes = choose_experts(Tensor::from({4, 4}, logits, DType::kF64), valid, options);
    return drop_tokens(
        routes, valid, ints({1}, {is_protected}),
        {.sequence_length = 4, .num_experts = 4, .num_groups = 2, .capacity_factor = 0.75});
  };
  const std::vector<double> equal(16, 0.0);
  EXPECT_EQ(ids_of(kept(equal, 0).ids), (std::vector<int32_t>{0, 1, 0, 2, -1, -1, -1, 3}));
  EXPECT_EQ(kept(equal, 0).dropped.to_doubles(), std::vector<double>{3});
  EXPECT_EQ(ids_of(kept(equal, 1).ids), (std::vector<int32_t>{0, 1, 0, 2, 0, 1, 1, 3}));
  std::vector<double> last_is_best(16, 0.0);
  last_is_best[13] = 1.0;  // token 3, expert 1
  EXPECT_EQ(ids_of(kept(last_is_best, 0).ids), (std::vector<int32_t>{0, 1, -1, 2, -1, -1, 1, 3}));
}

TEST(RouteTest, TiesGoToTheLowerExpertAndPaddingNowhere) {
  const Tensor logits = Tensor::zeros({2, 6}, DType::kF32);
  const Routes routes =
      choose_experts(logits, ints({2}, {1, 0}), {.experts_per_token = 3, .sequence_length = 2});
  EXPECT_EQ(ids_of(routes.ids), (std::vector<int32_t>{0, 1, 2, -1, -1, -1}));
  EXPECT_EQ(routes.weights.to_doubles()[3], 0.0);
}

TEST(DispatchTest, SortsByExpertThenTokenThenSlot) {
  const DispatchPlan plan = plan_dispatch(ints({3, 2}, {2, 0, -1, -1, 0, 2}), 3);
  EXPECT_EQ(*plan.offsets, (std::vector<int64_t>{0, 2, 2, 4}));
  EXPECT_EQ(ids_of(plan.token_of), (std::vector<int32_t>{0, 2, 0, 2}));
  EXPECT_EQ(ids_of(plan.row_of), (std::vector<int32_t>{2, 0, -1, -1, 1, 3}));
}

}  // namespace
}  // namespace orthant::testing
