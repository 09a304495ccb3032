// SPDX-License-Identifier: Apache-2.0
// The bodies of router, dispatch_plan, combine, and their gradients, on the host.
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

TEST_P(CudaRouting, Router) {
  for (const auto& [experts, slots] : {std::pair{4, 2}, {7, 7}, {64, 6}, {130, 8}})
    for (const int normalize : {0, 1})
      for (const bool masked : {false, true}) {
        const int64_t n = 12, length = 6, e = experts, a = slots;
        Array logits = Array(wide(), n, e, 2).random(1, -3, 3);
        for (int64_t j = 1; j < e; j += 2) logits.set(3, j, logits.get(3, j - 1));  // ties
        for (int64_t j = 0; j < e; ++j) logits.set(5, j, 0.5);
        Array valid = Array(DType::kI32, 1, n).constant(1), replay(DType::kI32, n, a, 1);
        for (int64_t i = 0; i < n; i += 4) valid.set(0, i, 0);
        for (int64_t i = 0; i < n; ++i)
          for (int64_t s = 0; s < a; ++s)
            replay.set(i, s, i == 7 && s == 1 ? -1 : static_cast<double>((i + 4 * s) % e));
        const View validity = masked ? valid.view1() : View{};
        Arrays routed;  // of the last backend
        for (const bool replayed : {false, true}) {
          compare(
              "router",
              [&](const Backend& t, const BackendCall* call) {
                Array scores(wide(), n, e, 1), ids(DType::kI32, n, a, 1), weights(wide(), n, a, 3);
                Array counts(DType::kF64, n / length, e), sums(DType::kF64, n / length, e);
                Array lse(wide(), 1, n);
                const RouterArgs args{logits.view(), validity,    replayed ? replay.view() : View{},
                                      scores.view(), ids.view(),  weights.view(),
                                      counts.view(), sums.view(), lse.view1(),
                                      length,        normalize,   2.5};
                ok(t.router(call, &args));
                return routed = Arrays{ids, scores, weights, counts, sums, lse};
              },
              2);
          const Array dweights = Array(wide(), n, a, 1).random(7);
          const Array coef = Array(DType::kF64, n / length, e).random(8);
          for (const int given : {0, 1, 2, 7})
            compare(
                "router_grad",
                [&](const Backend& t, const BackendCall* call) {
                  Array dlogits = Array(wide(), n, e, 3).constant(4);
                  const RouterGradArgs args{routed[1].view(),
                                            validity,
                                            routed[0].view(),
                                            routed[2].view(),
                                            given & 4 ? routed[5].view1() : View{},
                                            given & 1 ? dweights.view() : View{},
                                            given & 2 ? coef.view() : View{},
                                            dlogits.view(),
                                            length,
                                            normalize,
                                            1.7,
                                            0.3};
                  ok(t.router_grad(call, &args));
                  return Arrays{dlogits};
                },
                2);
        }
        replay.set(1, 1, static_cast<double>(e));
        expect_refused([&](const Backend& t, const BackendCall* call) {
          const RouterArgs args{logits.view(),    View{},           replay.view(),
                                routed[1].view(), routed[0].view(), routed[2].view(),
                                routed[3].view(), routed[4].view(), routed[5].view1(),
                                length,           normalize,        2.5};
          return t.router(call, &args);
        });
      }
}

TEST_P(CudaRouting, RouterGivesDistinctExpertsForNotANumber) {
  const int64_t n = 4, e = 9, a = 4;
  Array logits = Array(wide(), n, e).constant(NAN), scores(wide(), n, e);
  Array ids(DType::kI32, n, a), weights(wide(), n, a);
  Array counts(DType::kF64, 1, e), sums(DType::kF64, 1, e);
  const RouterArgs args{logits.view(),
                        View{},
                        View{},
                        scores.view(),
                        ids.view(),
                        weights.view(),
                        counts.view(),
                        sums.view(),
                        View{},
                        n,
                        1,
                        1};
  ok(serial_.router(&call_, &args));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t s = 0; s < a; ++s) EXPECT_EQ(ids.get(i, s), static_cast<double>(s));
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
