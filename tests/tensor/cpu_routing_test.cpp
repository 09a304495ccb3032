// SPDX-License-Identifier: Apache-2.0
// Router, dispatch plan and combine against plain references; their gradients against finite
// differences.
#include <algorithm>
#include <numeric>

#include "tests/tensor/cpu_testing.h"

namespace orthant::testing {
namespace {

class CpuRouting : public CpuKernels {
 protected:
  struct Routing {
    Array logits, valid, replay, scores, totals, ids, weights, counts, group_counts, score_sums,
        lse;
    RouterArgs args{};
  };
  Routing make(int64_t n, int64_t e, int64_t a, int64_t length, int normalize, double scale) {
    Routing r;
    r.logits = Array(wide(), n, e, 2).random(1, -3, 3);
    r.valid = Array(DType::kI32, 1, n).constant(1);
    for (int64_t i = 0; i < n; i += 4) r.valid.set(0, i, 0);
    r.replay = Array(DType::kI32, n, a, 1);
    r.scores = Array(wide(), n, e, 1);
    r.ids = Array(DType::kI32, n, a, 1);
    r.weights = Array(wide(), n, a, 3);
    r.counts = Array(DType::kF64, n / length, e);
    r.score_sums = Array(DType::kF64, n / length, e);
    r.lse = Array(wide(), 1, n), r.totals = Array(wide(), 1, n);
    r.group_counts = Array(DType::kF64, n / length, 1);
    r.args.sequence_length = length, r.args.num_groups = r.args.top_groups = 1;
    r.args.group_best = 1, r.args.normalize = normalize, r.args.scale = scale;
    return r;
  }
  void route(Routing* r, bool replayed = false) {
    RouterArgs& args = r->args;
    args.logits = r->logits.view(), args.valid = r->valid.view1();
    args.replay = replayed ? r->replay.view() : View{};
    args.scores = r->scores.view(), args.ids = r->ids.view(), args.weights = r->weights.view();
    args.counts = r->counts.view(), args.score_sums = r->score_sums.view();
    args.lse = r->lse.view1(), args.totals = r->totals.view1();
    args.group_counts = r->group_counts.view();
    ok(table_.router(&call_, &args));
  }
  int router_grad(const Routing& r, const Array& dweights, const Array& coef, const Array& dlogits,
                  double z_coef) {
    const RouterGradArgs args{.logits = r.logits.view(),
                              .scores = r.scores.view(),
                              .totals = r.totals.view1(),
                              .valid = r.valid.view1(),
                              .ids = r.ids.view(),
                              .weights = r.weights.view(),
                              .lse = r.lse.view1(),
                              .dweights = dweights.view(),
                              .score_coef = coef.view(),
                              .dlogits = dlogits.view(),
                              .score = r.args.score,
                              .sequence_length = r.args.sequence_length,
                              .normalize = r.args.normalize,
                              .scale = r.args.scale,
                              .z_coef = z_coef};
    return table_.router_grad(&call_, &args);
  }
};

TEST_P(CpuRouting, ChoosesTheBestWithTiesToTheLowerId) {
  for (const auto& [e, a] : {std::pair{4, 2}, {7, 7}, {64, 6}, {130, 8}, {512, 8}}) {
    for (const int normalize : {0, 1}) {
      const int64_t n = 12, length = 6;
      Routing r = make(n, e, a, length, normalize, 2.5);
      for (int64_t j = 1; j < e; j += 2) r.logits.set(3, j, r.logits.get(3, j - 1));  // ties
      for (int64_t j = 0; j < e; ++j) r.logits.set(5, j, 0.5);
      route(&r);
      for (int64_t i = 0; i < n; ++i) {
        double max = -INFINITY, sum = 0, chosen = 0;
        for (int64_t j = 0; j < e; ++j) max = std::fmax(max, r.logits.get(i, j));
        for (int64_t j = 0; j < e; ++j) sum += std::exp(r.logits.get(i, j) - max);
        ASSERT_NEAR(r.lse.get(0, i), max + std::log(sum), tolerance(wide()));
        std::vector<int64_t> order(static_cast<size_t>(e));
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) {
          return r.scores.get(i, x) > r.scores.get(i, y);
        });
        for (int64_t s = 0; s < a; ++s) chosen += r.scores.get(i, order[static_cast<size_t>(s)]);
        for (int64_t j = 0; j < e; ++j)
          ASSERT_NEAR(r.scores.get(i, j), std::exp(r.logits.get(i, j) - max) / sum,
                      tolerance(wide()));
        for (int64_t s = 0; s < a; ++s) {
          const bool valid = i % 4 != 0;
          const int64_t id = order[static_cast<size_t>(s)];
          ASSERT_EQ(r.ids.get(i, s), valid ? static_cast<double>(id) : -1) << i << " " << s;
          const double want = 2.5 * r.scores.get(i, id) / (normalize ? chosen : 1);
          ASSERT_NEAR(r.weights.get(i, s), valid ? want : 0, tolerance(wide()));
        }
      }
      for (int64_t q = 0; q < n / length; ++q)
        for (int64_t j = 0; j < e; ++j) {
          double count = 0, sum = 0;
          for (int64_t i = q * length; i < (q + 1) * length; ++i) {
            for (int64_t s = 0; s < a; ++s) count += r.ids.get(i, s) == static_cast<double>(j);
            if (i % 4 != 0) sum += r.scores.get(i, j);
          }
          ASSERT_EQ(r.counts.get(q, j), count);
          ASSERT_NEAR(r.score_sums.get(q, j), sum, 1e-14);
        }
      EXPECT_TRUE(r.ids.padding_is_untouched() && r.weights.padding_is_untouched());
    }
  }
}

TEST_P(CpuRouting, ReplaysGivenChoices) {
  Routing r = make(8, 10, 3, 8, 1, 1);
  for (int64_t i = 0; i < 8; ++i)
    for (int64_t s = 0; s < 3; ++s) r.replay.set(i, s, static_cast<double>((i + 4 * s) % 10));
  route(&r, true);
  for (int64_t i = 0; i < 8; ++i) {
    if (i % 4 == 0) continue;
    double sum = 0;
    for (int64_t s = 0; s < 3; ++s) sum += r.scores.get(i, (i + 4 * s) % 10);
    for (int64_t s = 0; s < 3; ++s) {
      ASSERT_EQ(r.ids.get(i, s), r.replay.get(i, s));
      ASSERT_NEAR(r.weights.get(i, s), r.scores.get(i, (i + 4 * s) % 10) / sum, tolerance(wide()));
    }
  }
  r.replay.set(1, 1, 10);
  EXPECT_NE(table_.router(&call_, &r.args), 0);
}

TEST_P(CpuRouting, NotANumberStillGivesDistinctExperts) {
  Routing r = make(4, 9, 4, 4, 1, 1);
  for (int64_t j = 0; j < 9; ++j) r.logits.set(1, j, NAN);
  route(&r);
  for (int64_t s = 0; s < 4; ++s) EXPECT_EQ(r.ids.get(1, s), static_cast<double>(s));
}

class CpuRoutingF64 : public CpuRouting {};

TEST_P(CpuRoutingF64, RouterGradientMatchesFiniteDifferences) {
  for (const int kind : {0, 1, 2, 3}) {
    const int64_t n = 8, e = 9, a = 3, length = 4;
    Routing r = make(n, e, a, length, kind % 2, 1.7);
    r.args.score = kind < 2 ? ScoreKind::kSoftmax : ScoreKind::kSigmoid;
    route(&r);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t s = 0; s < a; ++s) r.replay.set(i, s, r.ids.get(i, s));
    Array dweights(wide(), n, a, 1), coef(DType::kF64, n / length, e), dlogits(wide(), n, e, 3);
    dweights.random(7), coef.random(8);
    const double z = 0.3;
    const auto objective = [&] {
      route(&r, true);
      double sum = inner(r.weights, dweights) + inner(r.score_sums, coef);
      for (int64_t i = 0; i < n; ++i)
        if (r.valid.get(0, i) != 0) sum += z * r.lse.get(0, i) * r.lse.get(0, i);
      return sum;
    };
    objective();
    ok(router_grad(r, dweights, coef, dlogits, z));
    expect_gradient(&r.logits, dlogits, objective, "dlogits");
    EXPECT_TRUE(dlogits.padding_is_untouched());
  }
}

TEST_P(CpuRouting, FloatRouterGradientFollowsTheFormula) {
  const int64_t n = 8, e = 70, a = 5, length = 4;
  Routing r = make(n, e, a, length, 1, 1.7);
  route(&r);
  Array dweights(wide(), n, a), coef(DType::kF64, n / length, e), dlogits(wide(), n, e, 3);
  dweights.random(7), coef.random(8), dlogits.constant(3);
  ok(router_grad(r, dweights, coef, dlogits, 0.3));
  for (int64_t i = 0; i < n; ++i) {
    std::vector<double> ds(static_cast<size_t>(e));
    double sum = 0, mean = 0, dot = 0;
    const bool valid = i % 4 != 0;
    for (int64_t s = 0; s < a && valid; ++s)
      sum += r.scores.get(i, static_cast<int64_t>(r.ids.get(i, s)));
    for (int64_t s = 0; s < a && valid; ++s)
      mean += dweights.get(i, s) * r.scores.get(i, static_cast<int64_t>(r.ids.get(i, s))) / sum;
    for (int64_t j = 0; j < e; ++j) ds[static_cast<size_t>(j)] = coef.get(i / length, j);
    for (int64_t s = 0; s < a && valid; ++s)
      ds[static_cast<size_t>(r.ids.get(i, s))] += 1.7 / sum * (dweights.get(i, s) - mean);
    for (int64_t j = 0; j < e; ++j) dot += ds[static_cast<size_t>(j)] * r.scores.get(i, j);
    for (int64_t j = 0; j < e; ++j) {
      const double want =
          r.scores.get(i, j) * (ds[static_cast<size_t>(j)] - dot + 0.6 * r.lse.get(0, i));
      ASSERT_NEAR(dlogits.get(i, j), valid ? want : 0, tolerance(wide())) << i << " " << j;
    }
  }
}

TEST_P(CpuRouting, PlanSortsByExpertTokenSlot) {
  const int64_t n = 37, a = 3, e = 5;
  Array ids(DType::kI32, n, a, 1), row_of(DType::kI32, n, a, 2), token_of(DType::kI32, 1, n * a);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t s = 0; s < a; ++s)  // expert 2 gets nothing
      ids.set(i, s,
              static_cast<double>((i * 7 + s * 3) % 6 - 1 == 2 ? 3 : (i * 7 + s * 3) % 6 - 1));
  int64_t offsets[e + 1];
  const DispatchPlanArgs args{ids.view(), row_of.view(), token_of.view1(), e, offsets};
  ok(table_.dispatch_plan(&call_, &args));
  int64_t row = 0;
  for (int64_t expert = 0; expert < e; ++expert) {
    ASSERT_EQ(offsets[expert], row);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t s = 0; s < a; ++s)
        if (ids.get(i, s) == static_cast<double>(expert)) {
          ASSERT_EQ(row_of.get(i, s), static_cast<double>(row));
          ASSERT_EQ(token_of.get(0, row), static_cast<double>(i));
          ++row;
        }
  }
  ASSERT_EQ(offsets[e], row);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t s = 0; s < a; ++s)
      if (ids.get(i, s) < 0) {
        ASSERT_EQ(row_of.get(i, s), -1);
      }
}

TEST_P(CpuRouting, CombineAddsWeightedRowsAndItsGradientFollows) {
  const int64_t n = 6, a = 3, d = 43, rows = 12;
  Array x(model(), rows, d, 1), row_of(DType::kI32, n, a, 1), weights(wide(), n, a, 2);
  Array y(model(), n, d, 3), dy(model(), n, d, 1), dx(model(), rows, d, 2), dweights(wide(), n, a);
  x.random(1), weights.random(2), dy.random(3);
  int64_t next = 0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t s = 0; s < a; ++s)
      row_of.set(i, s, (i + s) % 3 == 0 ? -1 : static_cast<double>(next++));
  for (const bool weighted : {true, false}) {
    const View weight_view = weighted ? weights.view() : View{};
    const auto weight = [&](int64_t i, int64_t s) { return weighted ? weights.get(i, s) : 1; };
    const CombineArgs args{x.view(), row_of.view(), weight_view, y.view()};
    ok(table_.combine(&call_, &args));
    expect_near(
        y,
        [&](int64_t i, int64_t c) {
          double sum = 0;
          for (int64_t s = 0; s < a; ++s)
            if (row_of.get(i, s) >= 0)
              sum += weight(i, s) * x.get(static_cast<int64_t>(row_of.get(i, s)), c);
          return sum;
        },
        close(), "combine");
    const CombineGradArgs grad{dy.view(),   x.view(),  row_of.view(),
                               weight_view, dx.view(), dweights.view()};
    ok(table_.combine_grad(&call_, &grad));
    for (int64_t i = 0; i < n; ++i)
      for (int64_t s = 0; s < a; ++s) {
        double dot = 0;
        const int64_t row = static_cast<int64_t>(row_of.get(i, s));
        for (int64_t c = 0; c < d && row >= 0; ++c) {
          dot += x.get(row, c) * dy.get(i, c);
          ASSERT_NEAR(dx.get(row, c), weight(i, s) * dy.get(i, c), close());
        }
        ASSERT_NEAR(dweights.get(i, s), dot, 10 * tolerance(wide()));
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, CpuRoutingF64, ::testing::ValuesIn(kernel_cases({DType::kF64})),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Levels, CpuRouting, ::testing::ValuesIn(kernel_cases()), case_name);

}  // namespace
}  // namespace orthant::testing
