// SPDX-License-Identifier: Apache-2.0
// The bodies of router, drop_tokens, dispatch_plan, combine, and their gradients, on the host.
#include "tests/tensor/cuda_bodies.h"

namespace orthant::testing {
namespace {

using CudaRouting = CudaBodies;

TEST_P(CudaRouting, CombineAndItsGradient) {
  const int64_t n = 9, slots = 3, width = 45, routed = 20;
  const Array rows = Array(model(), routed, width, 1).random(1);
  const Array dy = Array(model(), n, width, 2).random(2);
  const Array weights = Array(wide(), n, slots, 1).random(3);
  Array row_of(DType::kI32, n, slots, 2);
  int next = 0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t a = 0; a < slots; ++a)
      row_of.set(i, a, (i + a) % 4 == 1 || next >= routed ? -1 : next++);
  for (const bool weighted : {true, false}) {
    const View weight = weighted ? weights.view() : View{};
    compare("combine", [&](const Backend& t, const BackendCall* call) {
      Array y(model(), n, width, 1);
      const CombineArgs args{rows.view(), row_of.view(), weight, y.view()};
      ok(t.combine(call, &args));
      return Arrays{y};
    });
    for (const int wanted : {1, 2, 3})
      compare(
          "combine_grad",
          [&](const Backend& t, const BackendCall* call) {
            Array drows(model(), routed, width, 2), dweights(wide(), n, slots, 2);
            const CombineGradArgs args{dy.view(),
                                       wanted & 2 ? rows.view() : View{},
                                       row_of.view(),
                                       weight,
                                       wanted & 1 ? drows.view() : View{},
                                       wanted & 2 ? dweights.view() : View{}};
            ok(t.combine_grad(call, &args));
            return Arrays{drows, dweights};
          },
          2);
  }
}

// Groups, scores and what else a router may be asked for.
struct RouterCase {
  int64_t experts, slots, groups = 1, top_groups = 1, group_best = 1;
  ScoreKind score = ScoreKind::kSoftmax;
  bool bias = false, plain = false;
};
const RouterCase kRouterCases[] = {{4, 2},
                                   {7, 7},
                                   {64, 6},
                                   {130, 8},
                                   {64, 6, 8, 3, 1, ScoreKind::kSoftmax, false, true},
                                   {130, 5, 13, 2, 2, ScoreKind::kSigmoid, true, true},
                                   {7, 3, 1, 1, 1, ScoreKind::kSigmoid, true, false}};

TEST_P(CudaRouting, Router) {
  for (const RouterCase& c : kRouterCases)
    for (const int normalize : {0, 1})
      for (const bool masked : {false, true}) {
        const int64_t n = 12, length = 6, e = c.experts, a = c.slots;
        Array logits = Array(wide(), n, e, 2).random(1, -3, 3);
        for (int64_t j = 1; j < e; j += 2) logits.set(3, j, logits.get(3, j - 1));  // ties
        for (int64_t j = 0; j < e; ++j) logits.set(5, j, 0.5);
        const Array bias = Array(wide(), 1, e).random(2, -0.2, 0.2);
        Array valid = Array(DType::kI32, 1, n).constant(1), replay(DType::kI32, n, a, 1);
        for (int64_t i = 0; i < n; i += 4) valid.set(0, i, 0);
        for (int64_t i = 0; i < n; ++i)
          for (int64_t s = 0; s < a; ++s)
            replay.set(i, s, i == 7 && s == 1 ? -1 : static_cast<double>((i + 4 * s) % e));
        const View validity = masked ? valid.view1() : View{};
        Arrays routed;  // of the last backend
        const auto route = [&](const Backend& t, const BackendCall* call, const View& replayed) {
          Array scores(wide(), n, e, 1), ids(DType::kI32, n, a, 1), weights(wide(), n, a, 3);
          Array counts(DType::kF64, n / length, e), sums(DType::kF64, n / length, e);
          Array lse(wide(), 1, n), totals(wide(), 1, n), chosen(wide(), n, a, 1);
          Array plain_ids(DType::kI32, n, a), plain(DType::kF64, n / length, e);
          Array groups(DType::kF64, n / length, c.groups);
          const RouterArgs args{.logits = logits.view(),
                                .valid = validity,
                                .bias = c.bias ? bias.view1() : View{},
                                .replay = replayed,
                                .scores = scores.view(),
                                .totals = totals.view1(),
                                .lse = lse.view1(),
                                .ids = ids.view(),
                                .weights = weights.view(),
                                .chosen_scores = c.plain ? chosen.view() : View{},
                                .plain_ids = c.plain ? plain_ids.view() : View{},
                                .counts = counts.view(),
                                .group_counts = groups.view(),
                                .plain_counts = c.plain ? plain.view() : View{},
                                .score_sums = sums.view(),
                                .score = c.score,
                                .sequence_length = length,
                                .num_groups = c.groups,
                                .top_groups = c.top_groups,
                                .group_best = c.group_best,
                                .normalize = normalize,
                                .scale = 2.5};
          const int status = t.router(call, &args);
          routed = Arrays{ids, scores, weights, counts, sums, lse, totals, groups};
          if (c.plain) routed.insert(routed.end(), {chosen, plain_ids, plain});
          return status;
        };
        for (const bool replayed : {false, true}) {
          compare(
              "router",
              [&](const Backend& t, const BackendCall* call) {
                ok(route(t, call, replayed ? replay.view() : View{}));
                return routed;
              },
              2);
          const Array dweights = Array(wide(), n, a, 1).random(7);
          const Array coef = Array(DType::kF64, n / length, e).random(8);
          for (const int given : {0, 1, 2, 7})
            compare(
                "router_grad",
                [&](const Backend& t, const BackendCall* call) {
                  Array dlogits = Array(wide(), n, e, 3).constant(4);
                  const RouterGradArgs args{.logits = logits.view(),
                                            .scores = routed[1].view(),
                                            .totals = routed[6].view1(),
                                            .valid = validity,
                                            .ids = routed[0].view(),
                                            .weights = routed[2].view(),
                                            .lse = given & 4 ? routed[5].view1() : View{},
                                            .dweights = given & 1 ? dweights.view() : View{},
                                            .score_coef = given & 2 ? coef.view() : View{},
                                            .dlogits = dlogits.view(),
                                            .score = c.score,
                                            .sequence_length = length,
                                            .normalize = normalize,
                                            .scale = 1.7,
                                            .z_coef = 0.3};
                  ok(t.router_grad(call, &args));
                  return Arrays{dlogits};
                },
                2);
        }
        replay.set(1, 1, static_cast<double>(e));
        expect_refused([&](const Backend& t, const BackendCall* call) {
          return route(t, call, replay.view());
        });
      }
}

TEST_P(CudaRouting, RouterGivesDistinctExpertsForNotANumber) {
  const int64_t n = 4, e = 9, a = 4;
  Array logits = Array(wide(), n, e).constant(NAN), scores(wide(), n, e), totals(wide(), 1, n);
  Array ids(DType::kI32, n, a), weights(wide(), n, a), groups(DType::kF64, 1, 3);
  Array counts(DType::kF64, 1, e), sums(DType::kF64, 1, e);
  for (const ScoreKind score : {ScoreKind::kSoftmax, ScoreKind::kSigmoid}) {
    const RouterArgs args{.logits = logits.view(),
                          .scores = scores.view(),
                          .totals = totals.view1(),
                          .ids = ids.view(),
                          .weights = weights.view(),
                          .counts = counts.view(),
                          .group_counts = groups.view(),
                          .score_sums = sums.view(),
                          .score = score,
                          .sequence_length = n,
                          .num_groups = 3,
                          .top_groups = 2,
                          .group_best = 1,
                          .normalize = 1,
                          .scale = 1};
    ok(serial_.router(&call_, &args));
    for (int64_t i = 0; i < n; ++i)
      for (int64_t s = 0; s < a; ++s) EXPECT_EQ(ids.get(i, s), static_cast<double>(s));
  }
}

TEST_P(CudaRouting, DropTokens) {
  const int64_t n = 40, length = 10, slots = 3, experts = 8;
  Array ids(DType::kI32, n, slots, 1), scores(wide(), n, slots, 2);
  Array valid = Array(DType::kI32, 1, n).constant(1);
  Array protected_rows = Array(DType::kI32, 1, n / length).constant(0);
  protected_rows.set(0, 2, 1);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t a = 0; a < slots; ++a) {
      ids.set(i, a, i % 7 == 3 ? -1 : static_cast<double>((i * i + 3 * a) % experts));
      scores.set(i, a, static_cast<double>((i * 5 + a) % 4) / 4);
      valid.set(0, i, i % 7 == 3 ? 0 : 1);
    }
  scores.set(1, 1, NAN);
  for (const int64_t groups : {1, 4})
    for (const double capacity : {1e-3, 0.5, 1.0, 20.0})
      compare(
          "drop_tokens",
          [&](const Backend& t, const BackendCall* call) {
            Array kept(DType::kI32, n, slots, 3), dropped(DType::kF64, 1, n / length);
            const DropTokensArgs args{.ids = ids.view(),
                                      .scores = scores.view(),
                                      .valid = valid.view1(),
                                      .protected_rows = protected_rows.view1(),
                                      .kept = kept.view(),
                                      .dropped = dropped.view1(),
                                      .sequence_length = length,
                                      .num_experts = experts,
                                      .num_groups = groups,
                                      .capacity_factor = capacity};
            ok(t.drop_tokens(call, &args));
            return Arrays{kept, dropped};
          },
          2);
  ids.set(0, 0, experts);
  expect_refused([&](const Backend& t, const BackendCall* call) {
    Array kept(DType::kI32, n, slots), dropped(DType::kF64, 1, n / length);
    const DropTokensArgs args{ids.view(),
                              scores.view(),
                              valid.view1(),
                              protected_rows.view1(),
                              kept.view(),
                              dropped.view1(),
                              length,
                              experts,
                              4,
                              1.0};
    return t.drop_tokens(call, &args);
  });
}

TEST_P(CudaRouting, DispatchPlan) {
  const int64_t n = 40, slots = 3, experts = 6;
  Array ids(DType::kI32, n, slots, 1);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t a = 0; a < slots; ++a)
      ids.set(i, a, i % 5 == 2 ? -1 : static_cast<double>((i * i + 2 * a) % (experts - 1)));
  const auto plan = [&](const Backend& t, const BackendCall* call, int64_t* offsets, Array* row_of,
                        Array* token_of) {
    const DispatchPlanArgs args{ids.view(), row_of->view(), token_of->view1(), experts, offsets};
    return t.dispatch_plan(call, &args);
  };
  compare("dispatch_plan", [&](const Backend& t, const BackendCall* call) {
    std::vector<int64_t> offsets(static_cast<size_t>(experts + 1), -1);
    Array row_of(DType::kI32, n, slots, 2), token_of(DType::kI32, 1, n * slots);
    ok(plan(t, call, offsets.data(), &row_of, &token_of));
    Array counts(DType::kI64, 1, experts + 1);
    for (int64_t e = 0; e <= experts; ++e)
      counts.set(0, e, static_cast<double>(offsets[static_cast<size_t>(e)]));
    return Arrays{row_of, token_of, counts};
  });
  ids.set(1, 1, static_cast<double>(experts));
  expect_refused([&](const Backend& t, const BackendCall* call) {
    std::vector<int64_t> offsets(static_cast<size_t>(experts + 1));
    Array row_of(DType::kI32, n, slots), token_of(DType::kI32, 1, n * slots);
    return plan(t, call, offsets.data(), &row_of, &token_of);
  });
}

ORTHANT_INSTANTIATE_BODIES(CudaRouting);

}  // namespace
}  // namespace orthant::testing
