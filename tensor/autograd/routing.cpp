// SPDX-License-Identifier: Apache-2.0
#include "tensor/autograd/ops.h"
#include "tensor/ops/call.h"

namespace orthant {

using ops::view_of;

namespace {

Tensor gathered(const char* op, const Tensor& x, const Tensor& index) {
  const Tensor y = Tensor::empty({index.numel(), x.dim(1)}, x.dtype(), x.device());
  ops::call(&Backend::gather_rows, op, {&x, &index, &y},
            GatherRowsArgs{.x = view_of(x), .index = view_of(index), .y = view_of(y)});
  return y;
}

Tensor summed(const char* op, const Tensor& rows, const Tensor& row_of) {
  const Tensor y = Tensor::empty({row_of.dim(0), rows.dim(1)}, rows.dtype(), rows.device());
  ops::call(&Backend::combine, op, {&rows, &row_of},
            CombineArgs{
                .rows = view_of(rows), .row_of = view_of(row_of), .weights = {}, .y = view_of(y)});
  return y;
}

}  // namespace

Var gather_rows(const Var& x, const Tensor& index, const Tensor& row_of) {
  const Tensor& xv = x.value();
  ORTHANT_OP_CHECK("gather_rows",
                   xv.rank() == 2 && index.dtype() == DType::kI32 && row_of.dim(0) == xv.dim(0), xv,
                   index, row_of);
  return record(
      "gather_rows", {x}, gathered("gather_rows", xv, index),
      [row_of](const Tensor& dy) -> Grads { return {summed("gather_rows_grad", dy, row_of)}; });
}

Var sum_rows(const Var& rows, const Tensor& row_of, const Tensor& owner) {
  const Tensor& rv = rows.value();
  ORTHANT_OP_CHECK("sum_rows",
                   rv.rank() == 2 && owner.dtype() == DType::kI32 && owner.numel() == rv.dim(0), rv,
                   row_of, owner);
  return record(
      "sum_rows", {rows}, summed("sum_rows", rv, row_of),
      [owner](const Tensor& dy) -> Grads { return {gathered("sum_rows_grad", dy, owner)}; });
}

Var combine(const Var& rows, const Var& weights, const Tensor& row_of) {
  const Tensor& rv = rows.value();
  const Tensor& wv = weights.value();
  ORTHANT_OP_CHECK("combine", wv.shape() == row_of.shape() && wv.dtype() == wide_of(rv.dtype()), rv,
                   wv, row_of);
  const Tensor y = Tensor::empty({row_of.dim(0), rv.dim(1)}, rv.dtype(), rv.device());
  ops::call(
      &Backend::combine, "combine", {&rv, &wv, &row_of},
      CombineArgs{
          .rows = view_of(rv), .row_of = view_of(row_of), .weights = view_of(wv), .y = view_of(y)});
  return record("combine", {rows, weights}, y, [rv, wv, row_of](const Tensor& dy) -> Grads {
    const Tensor drows = Tensor::like(rv), dweights = Tensor::like(wv);
    ops::call(&Backend::combine_grad, "combine_grad", {&dy, &rv, &wv},
              CombineGradArgs{.dy = view_of(dy),
                              .rows = view_of(rv),
                              .row_of = view_of(row_of),
                              .weights = view_of(wv),
                              .drows = view_of(drows),
                              .dweights = view_of(dweights)});
    return {drows, dweights};
  });
}

RouteSums::RouteSums(const Tensor& storage, int64_t sequences, int64_t experts, int64_t groups,
                     bool plain)
    : all(storage) {
  int64_t end = 0;
  const auto next = [&](int64_t cols) {
    const int64_t begin = end;
    end += sequences * cols;
    return all.flat(begin, end).view({sequences, cols});
  };
  counts = next(experts);
  group_counts = next(groups);
  score_sums = next(experts);
  if (plain) plain_counts = next(experts);
}

RouteSums RouteSums::to(Device device) const {
  return RouteSums(all.to(device), counts.dim(0), counts.dim(1), group_counts.dim(1),
                   plain_counts.defined());
}

namespace {

// Room for what the router computes.
Routes make_routes(const Tensor& logits, const RouterOptions& o, int64_t sequences) {
  const int64_t rows = logits.dim(0), experts = logits.dim(1), slots = o.experts_per_token;
  const DType wide = logits.dtype();
  const Device device = logits.device();
  Routes routes;
  routes.weights = Tensor::empty({rows, slots}, wide, device);
  routes.ids = Tensor::empty({rows, slots}, DType::kI32, device);
  routes.chosen_scores = Tensor::empty({rows, slots}, wide, device);
  routes.scores = Tensor::like(logits);
  routes.totals = Tensor::empty({rows}, wide, device);
  routes.lse = Tensor::empty({rows}, wide, device);
  const int64_t sums = RouteSums::numel(sequences, experts, o.num_groups, o.plain_counts);
  routes.sums = RouteSums(Tensor::empty({sums}, DType::kF64, device), sequences, experts,
                          o.num_groups, o.plain_counts);
  return routes;
}

}  // namespace

Routes choose_experts(const Tensor& lv, const Tensor& valid, const RouterOptions& options) {
  ORTHANT_OP_CHECK(
      "route", lv.rank() == 2 && lv.dtype() == wide_of(lv.dtype()) && valid.numel() == lv.dim(0),
      lv, valid);
  if (options.bias.defined())
    ORTHANT_OP_CHECK("route",
                     options.bias.numel() == lv.dim(1) && options.bias.dtype() == lv.dtype(), lv,
                     options.bias);
  const int64_t sequences =
      options.sequences > 0 ? options.sequences : lv.dim(0) / options.sequence_length;
  ORTHANT_CHECK(options.first_row + lv.dim(0) <= sequences * options.sequence_length &&
                    options.experts_per_token <= lv.dim(1),
                kInternal, "route: ", lv.dim(0), " tokens from ", options.first_row, " on of ",
                sequences, " sequences of ", options.sequence_length, ", ",
                options.experts_per_token, " of ", lv.dim(1), " experts");
  Routes routes = make_routes(lv, options, sequences);
  Tensor plain_ids;
  if (options.plain_counts) plain_ids = Tensor::like(routes.ids);
  ops::call(&Backend::router, "route", {&lv, &valid},
            RouterArgs{.logits = view_of(lv),
                       .valid = view_of(valid),
                       .bias = view_of(options.bias),
                       .replay = view_of(options.replay),
                       .scores = view_of(routes.scores),
                       .totals = view_of(routes.totals),
                       .lse = view_of(routes.lse),
                       .ids = view_of(routes.ids),
                       .weights = view_of(routes.weights),
                       .chosen_scores = view_of(routes.chosen_scores),
                       .plain_ids = view_of(plain_ids),
                       .counts = view_of(routes.sums.counts),
                       .group_counts = view_of(routes.sums.group_counts),
                       .plain_counts = view_of(routes.sums.plain_counts),
                       .score_sums = view_of(routes.sums.score_sums),
                       .score = options.score,
                       .sequence_length = options.sequence_length,
                       .first_row = options.first_row,
                       .num_groups = options.num_groups,
                       .top_groups = options.top_groups,
                       .group_best = options.group_best,
                       .normalize = options.normalize,
                       .scale = options.scale});
  return routes;
}

Var route(const Var& logits, const Tensor& valid, const Routes& routes,
          const RouterOptions& options, const RouterLosses& losses) {
  // The z-loss goes through the softmax of the logits, which sigmoid scores do not have.
  Tensor z_logits, lse;
  if (losses.z_coef != 0.0) {
    lse = routes.lse;
    if (options.score == ScoreKind::kSigmoid) z_logits = logits.value();
  }
  return record("route", {logits}, routes.weights,
                [=, scores = routes.scores, totals = routes.totals, ids = routes.ids,
                 weights = routes.weights, score = options.score, length = options.sequence_length,
                 first_row = options.first_row, normalize = options.normalize,
                 factor = options.scale](const Tensor& dweights) -> Grads {
                  const Tensor dlogits = Tensor::like(scores);
                  ops::call(&Backend::router_grad, "route_grad", {&scores, &dweights},
                            RouterGradArgs{.logits = view_of(z_logits),
                                           .scores = view_of(scores),
                                           .totals = view_of(totals),
                                           .valid = view_of(valid),
                                           .ids = view_of(ids),
                                           .weights = view_of(weights),
                                           .lse = view_of(lse),
                                           .dweights = view_of(dweights),
                                           .score_coef = view_of(losses.score_coef),
                                           .dlogits = view_of(dlogits),
                                           .score = score,
                                           .sequence_length = length,
                                           .first_row = first_row,
                                           .normalize = normalize,
                                           .scale = factor,
                                           .z_coef = losses.z_coef});
                  return {dlogits};
                });
}

KeptTokens drop_tokens(const Routes& routes, const Tensor& valid, const Tensor& protected_rows,
                       const DropOptions& options) {
  const Tensor& ids = routes.ids;
  ORTHANT_OP_CHECK(
      "drop_tokens",
      valid.numel() == ids.dim(0) && protected_rows.numel() * options.sequence_length == ids.dim(0),
      ids, valid, protected_rows);
  KeptTokens kept{.ids = Tensor::like(ids),
                  .dropped = Tensor::empty(protected_rows.shape(), DType::kF64, ids.device())};
  ops::call(&Backend::drop_tokens, "drop_tokens", {&ids, &valid, &protected_rows},
            DropTokensArgs{.ids = view_of(ids),
                           .scores = view_of(routes.chosen_scores),
                           .valid = view_of(valid),
                           .protected_rows = view_of(protected_rows),
                           .kept = view_of(kept.ids),
                           .dropped = view_of(kept.dropped),
                           .sequence_length = options.sequence_length,
                           .num_experts = options.num_experts,
                           .num_groups = options.num_groups,
                           .capacity_factor = options.capacity_factor});
  return kept;
}

DispatchPlan plan_dispatch(const Tensor& ids, int64_t num_experts) {
  DispatchPlan plan;
  auto offsets = std::make_shared<std::vector<int64_t>>(static_cast<size_t>(num_experts + 1));
  plan.row_of = Tensor::like(ids);
  const Tensor token_of = Tensor::empty({ids.numel()}, DType::kI32, ids.device());
  ops::call(&Backend::dispatch_plan, "plan_dispatch", {&ids},
            DispatchPlanArgs{.ids = view_of(ids),
                             .row_of = view_of(plan.row_of),
                             .token_of = view_of(token_of),
                             .num_experts = num_experts,
                             .offsets = offsets->data()});
  plan.token_of = token_of.slice(0, offsets->back());
  plan.offsets = std::move(offsets);
  return plan;
}

}  // namespace orthant
