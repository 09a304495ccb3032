// SPDX-License-Identifier: Apache-2.0
// Router, dispatch and combine.
#include <algorithm>
#include <numeric>

#include "base/philox.h"
#include "tests/conformance/cases.h"

namespace orthant::testing {
namespace {

std::vector<int64_t> shuffled(int64_t n, uint64_t seed) {
  const PhiloxKey key = make_key(seed, RandomPurpose::kTest, "conformance order");
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = n - 1; i > 0; --i) {
    const double u = philox_uniform(key, 0, static_cast<uint64_t>(i));
    std::swap(order[static_cast<size_t>(i)],
              order[static_cast<size_t>(u * static_cast<double>(i + 1))]);
  }
  return order;
}

// Entries of a row are some multiples of 1/8, so that every precision sees the same order and the
// same ties; with ties, pairs of experts are equal.
std::vector<double> separate_logits(int64_t rows, int64_t experts, bool ties) {
  std::vector<double> logits;
  for (int64_t n = 0; n < rows; ++n) {
    for (const int64_t place : shuffled(experts, static_cast<uint64_t>(n)))
      logits.push_back(0.125 * static_cast<double>((ties ? place / 2 : place) - experts / 2));
  }
  return logits;
}

// `slots` different experts for every token, -1 where it is not valid.
std::vector<double> choices(int64_t rows, int64_t experts, int64_t slots,
                            const std::vector<double>& valid) {
  std::vector<double> ids;
  for (int64_t n = 0; n < rows; ++n) {
    const std::vector<int64_t> order = shuffled(experts, 77 + static_cast<uint64_t>(n));
    for (int64_t a = 0; a < slots; ++a) {
      ids.push_back(valid[static_cast<size_t>(n)] == 0.0
                        ? -1.0
                        : static_cast<double>(order[static_cast<size_t>(a)]));
    }
  }
  return ids;
}

struct Router {
  int64_t sequences = 2, length = 6, experts = 7, slots = 3;
  int64_t groups = 1, top_groups = 1, group_best = 1;
  bool sigmoid = false, bias = false, plain = false;
  bool normalize = false, replay = false, ties = false, all_padding = false, coefficients = true;
  double scale = 1.0, z_coef = 0.01;

  int64_t rows() const { return sequences * length; }
  ScoreKind score() const { return sigmoid ? ScoreKind::kSigmoid : ScoreKind::kSoftmax; }
  std::vector<double> valid() const {
    std::vector<double> values;
    for (int64_t n = 0; n < rows(); ++n) values.push_back(n % 4 != 1 && !all_padding);
    return values;
  }
};

void route(Trial& run, const Router& r) {
  const int64_t n = r.rows();
  const std::vector<double> everybody(static_cast<size_t>(n), 1.0);
  // Large enough to change the choice, and exact in every precision.
  const Values bias = [](int64_t e) { return static_cast<double>(e % 3) / 4 - 0.25; };
  CALL(run, router,
       RouterArgs{
           .logits =
               run.in(Kind::kWide, {n, r.experts}, list(separate_logits(n, r.experts, r.ties)), 2),
           .valid = run.in(Kind::kI32, {n}, list(r.valid())),
           .bias = r.bias ? run.in(Kind::kWide, {r.experts}, bias) : View{},
           .replay = r.replay ? run.in(Kind::kI32, {n, r.slots},
                                       list(choices(n, r.experts, r.slots, everybody)))
                              : View{},
           .scores = run.out("scores", Kind::kWide, {n, r.experts}, Near::kWide, 1),
           .totals = run.out("totals", Kind::kWide, {n}, Near::kWide),
           .lse = run.out("lse", Kind::kWide, {n}, Near::kWide),
           .ids = run.out("ids", Kind::kI32, {n, r.slots}, Near::kExact, 1),
           .weights = run.out("weights", Kind::kWide, {n, r.slots}, Near::kWide, 3),
           .chosen_scores =
               r.plain ? run.out("chosen_scores", Kind::kWide, {n, r.slots}, Near::kWide, 2)
                       : View{},
           .plain_ids =
               r.plain ? run.out("plain_ids", Kind::kI32, {n, r.slots}, Near::kExact, 2) : View{},
           .counts = run.out("counts", Kind::kF64, {r.sequences, r.experts}, Near::kExact),
           .group_counts =
               run.out("group_counts", Kind::kF64, {r.sequences, r.groups}, Near::kExact, 1),
           .plain_counts =
               r.plain ? run.out("plain_counts", Kind::kF64, {r.sequences, r.experts}, Near::kExact)
                       : View{},
           .score_sums = run.out("score_sums", Kind::kF64, {r.sequences, r.experts}, Near::kWide),
           .score = r.score(),
           .sequence_length = r.length,
           .num_groups = r.groups,
           .top_groups = r.top_groups,
           .group_best = r.group_best,
           .normalize = r.normalize,
           .scale = r.scale});
}

void route_grad(Trial& run, const Router& r) {
  const int64_t n = r.rows();
  const std::vector<double> ids = choices(n, r.experts, r.slots, r.valid());
  const auto experts = static_cast<double>(r.experts);
  CALL(run, router_grad,
       RouterGradArgs{
           .logits = r.sigmoid ? run.in(Kind::kWide, {n, r.experts}, normal(6), 1) : View{},
           .scores =
               run.in(Kind::kWide, {n, r.experts}, uniform(1, 0.1 / experts, 1.9 / experts), 2),
           .totals = r.sigmoid ? run.in(Kind::kWide, {n}, uniform(7, 0.7, 1.5)) : View{},
           .valid = run.in(Kind::kI32, {n}, list(r.valid())),
           .ids = run.in(Kind::kI32, {n, r.slots}, list(ids)),
           .weights = run.in(Kind::kWide, {n, r.slots}, uniform(2, 0, 1)),
           .lse = run.in(Kind::kWide, {n}, uniform(3, 1.0, 3.0)),
           .dweights = run.in(Kind::kWide, {n, r.slots}, normal(4), 1),
           .score_coef = r.coefficients
                             ? run.in(Kind::kF64, {r.sequences, r.experts}, normal(5, 0.1))
                             : View{},
           .dlogits = run.out("dlogits", Kind::kWide, {n, r.experts}, Near::kWide, 3),
           .score = r.score(),
           .sequence_length = r.length,
           .normalize = r.normalize,
           .scale = r.scale,
           .z_coef = r.z_coef});
}

struct Drop {
  int64_t sequences = 3, length = 9, slots = 3, experts = 8, groups = 4;
  double capacity = 0.7;
  bool all_padding = false, one_expert = false;
};

// Scores are multiples of 1/8 with many ties; the second sequence is protected.
void drop(Trial& run, const Drop& d) {
  const int64_t n = d.sequences * d.length;
  std::vector<double> valid, protected_rows;
  for (int64_t i = 0; i < n; ++i) valid.push_back(i % 5 != 2 && !d.all_padding);
  for (int64_t s = 0; s < d.sequences; ++s) protected_rows.push_back(s == 1);
  std::vector<double> ids = choices(n, d.experts, d.slots, valid);
  if (d.one_expert)
    for (double& id : ids) id = id < 0 ? id : 5;
  const Values scores = [](int64_t i) { return static_cast<double>(i * 7 % 5) / 8; };
  CALL(run, drop_tokens,
       DropTokensArgs{.ids = run.in(Kind::kI32, {n, d.slots}, list(ids), 1),
                      .scores = run.in(Kind::kWide, {n, d.slots}, scores, 2),
                      .valid = run.in(Kind::kI32, {n}, list(valid)),
                      .protected_rows = run.in(Kind::kI32, {d.sequences}, list(protected_rows)),
                      .kept = run.out("kept", Kind::kI32, {n, d.slots}, Near::kExact, 3),
                      .dropped = run.out("dropped", Kind::kF64, {d.sequences}, Near::kExact),
                      .sequence_length = d.length,
                      .num_experts = d.experts,
                      .num_groups = d.groups,
                      .capacity_factor = d.capacity});
}

void plan(Trial& run, int64_t rows, int64_t experts, int64_t slots, int64_t used_experts,
          bool all_padding) {
  std::vector<double> valid(static_cast<size_t>(rows));
  for (int64_t n = 0; n < rows; ++n) valid[static_cast<size_t>(n)] = n % 3 != 1 && !all_padding;
  const std::vector<double> ids = choices(rows, used_experts, slots, valid);
  const auto used = static_cast<int64_t>(
      std::count_if(ids.begin(), ids.end(), [](double id) { return id >= 0; }));
  const View token_of = run.out("token_of", Kind::kI32, {rows * slots}, Near::kExact);
  run.keep_first("token_of", used);
  std::vector<int64_t> offsets(static_cast<size_t>(experts + 1), -7);
  CALL(run, dispatch_plan,
       DispatchPlanArgs{.ids = run.in(Kind::kI32, {rows, slots}, list(ids)),
                        .row_of = run.out("row_of", Kind::kI32, {rows, slots}, Near::kExact),
                        .token_of = token_of,
                        .num_experts = experts,
                        .offsets = offsets.data()});
  run.host_result("offsets", {offsets.begin(), offsets.end()});
}

void gather(Trial& run, int64_t rows, int64_t width, int64_t taken) {
  const Values index = [=](int64_t i) { return static_cast<double>(i * i % rows); };
  CALL(run, gather_rows,
       GatherRowsArgs{.x = run.in(Kind::kModel, {rows, width}, normal(1), 3),
                      .index = run.in(Kind::kI32, {taken}, index),
                      .y = run.out("y", Kind::kModel, {taken, width}, Near::kExact, 1)});
}

struct Combined {
  int64_t tokens = 11, slots = 3, width = 33;
  bool weights = true, empty = false;
  int64_t pad = 0;
};

// Every row belongs to one (token, slot); every fifth pair has none.
std::vector<double> rows_of_pairs(const Combined& c, int64_t& count) {
  std::vector<double> row_of;
  const std::vector<int64_t> order = shuffled(c.tokens * c.slots, 5);
  count = 0;
  for (int64_t i = 0; i < c.tokens * c.slots; ++i) {
    const bool none = c.empty || i % 5 == 2;
    row_of.push_back(none ? -1.0 : 0.0);
    count += !none;
  }
  int64_t next = 0;
  for (const int64_t i : order) {
    double& row = row_of[static_cast<size_t>(i)];
    if (row == 0.0) row = static_cast<double>(next++);
  }
  return row_of;
}

void join(Trial& run, const Combined& c) {
  int64_t rows = 0;
  const std::vector<double> row_of = rows_of_pairs(c, rows);
  CALL(run, combine,
       CombineArgs{
           .rows = run.in(Kind::kModel, {rows, c.width}, normal(1), c.pad),
           .row_of = run.in(Kind::kI32, {c.tokens, c.slots}, list(row_of)),
           .weights = c.weights ? run.in(Kind::kWide, {c.tokens, c.slots}, normal(2)) : View{},
           .y = run.out("y", Kind::kModel, {c.tokens, c.width}, Near::kModel, 2 * c.pad)});
}

void join_grad(Trial& run, const Combined& c) {
  int64_t rows = 0;
  const std::vector<double> row_of = rows_of_pairs(c, rows);
  CALL(run, combine_grad,
       CombineGradArgs{
           .dy = run.in(Kind::kModel, {c.tokens, c.width}, normal(1), c.pad),
           .rows = run.in(Kind::kModel, {rows, c.width}, normal(2), c.pad),
           .row_of = run.in(Kind::kI32, {c.tokens, c.slots}, list(row_of)),
           .weights = run.in(Kind::kWide, {c.tokens, c.slots}, normal(3)),
           .drows = run.out("drows", Kind::kModel, {rows, c.width}, Near::kModel, 2 * c.pad),
           .dweights = run.out("dweights", Kind::kWide, {c.tokens, c.slots}, Near::kWide)});
}

}  // namespace

void add_routing_cases(std::vector<ConformanceCase>& cases) {
  const std::vector<std::pair<const char*, Router>> routers = {
      {"padding", {}},
      {"normalised and scaled", {.normalize = true, .scale = 2.5}},
      {"equal scores", {.experts = 16, .slots = 5, .normalize = true, .ties = true}},
      {"given choices", {.normalize = true, .replay = true}},
      {"all experts", {.experts = 4, .slots = 4, .normalize = true}},
      {"one expert", {.experts = 1, .slots = 1}},
      {"many experts", {.length = 33, .experts = 130, .slots = 8, .normalize = true}},
      {"one token", {.sequences = 1, .length = 1, .experts = 5, .slots = 2}},
      {"only padding", {.all_padding = true, .coefficients = false, .z_coef = 0}},
      {"no coefficients", {.normalize = true, .coefficients = false}},
      {"groups by their best", {.experts = 12, .groups = 4, .top_groups = 2, .plain = true}},
      {"equal groups", {.experts = 8, .slots = 2, .groups = 4, .top_groups = 1, .ties = true}},
      {"groups by their best two",
       {.experts = 12, .groups = 4, .top_groups = 2, .group_best = 2, .bias = true}},
      {"groups of one", {.experts = 5, .groups = 5, .top_groups = 3, .group_best = 2}},
      {"sigmoid", {.sigmoid = true, .plain = true, .normalize = true, .scale = 2.5}},
      {"sigmoid with bias and groups",
       {.length = 33,
        .experts = 64,
        .slots = 6,
        .groups = 8,
        .top_groups = 3,
        .group_best = 2,
        .sigmoid = true,
        .bias = true,
        .plain = true,
        .normalize = true}},
      {"sigmoid, given choices", {.sigmoid = true, .plain = true, .replay = true}},
      {"sigmoid, only padding", {.sigmoid = true, .plain = true, .all_padding = true}}};
  for (const auto& [name, router] : routers) {
    cases.push_back({"router", name, [r = router](Trial& run) { route(run, r); }});
    cases.push_back({"router_grad", name, [r = router](Trial& run) { route_grad(run, r); }});
  }
  const auto add = [&](const char* op, const char* name, std::function<void(Trial&)> body) {
    cases.push_back({op, name, std::move(body)});
  };
  for (const auto& [name, dropping] :
       {std::pair{"equal scores", Drop{}}, std::pair{"nothing to drop", Drop{.capacity = 9.0}},
        std::pair{"room for one", Drop{.capacity = 1e-6}},
        std::pair{"one group", Drop{.groups = 1, .capacity = 0.5}},
        std::pair{"one expert for all", Drop{.capacity = 1.0, .one_expert = true}},
        std::pair{"only padding", Drop{.all_padding = true}},
        std::pair{"many tokens", Drop{.length = 300, .slots = 6, .experts = 64, .capacity = 1.0}}})
    add("drop_tokens", name, [d = dropping](Trial& run) { drop(run, d); });
  add("dispatch_plan", "padding", [](Trial& run) { plan(run, 13, 5, 2, 5, false); });
  add("dispatch_plan", "experts without rows", [](Trial& run) { plan(run, 13, 9, 2, 4, false); });
  add("dispatch_plan", "only padding", [](Trial& run) { plan(run, 7, 5, 2, 5, true); });
  add("dispatch_plan", "many tokens", [](Trial& run) { plan(run, 1500, 64, 6, 64, false); });
  add("gather_rows", "repeated rows", [](Trial& run) { gather(run, 7, 33, 20); });
  add("gather_rows", "one wide row", [](Trial& run) { gather(run, 1, 513, 1); });
  add("gather_rows", "no rows", [](Trial& run) { gather(run, 3, 9, 0); });
  for (const auto& [name, combined] :
       {std::pair{"with gaps", Combined{}}, std::pair{"rows apart", Combined{.pad = 3}},
        std::pair{"one slot", Combined{.slots = 1, .width = 130}},
        std::pair{"no rows", Combined{.empty = true}}}) {
    add("combine", name, [c = combined](Trial& run) { join(run, c); });
    add("combine_grad", name, [c = combined](Trial& run) { join_grad(run, c); });
  }
  add("combine", "without weights", [](Trial& run) { join(run, {.weights = false}); });
}

}  // namespace orthant::testing
