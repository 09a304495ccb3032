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
  ops::call(
      &Backend::combine, op, {&rows, &row_of},
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

Routes route(const Var& logits, const Tensor& valid, const RouterOptions& options) {
  const Tensor& lv = logits.value();
  ORTHANT_OP_CHECK(
      "route", lv.rank() == 2 && lv.dtype() == wide_of(lv.dtype()) && valid.numel() == lv.dim(0),
      lv, valid);
  const int64_t rows = lv.dim(0), experts = lv.dim(1), slots = options.experts_per_token;
  ORTHANT_CHECK(rows % options.sequence_length == 0 && slots <= experts, kInternal, "route: ", rows,
                " tokens in sequences of ", options.sequence_length, ", ", slots, " of ", experts,
                " experts");
  const int64_t sequences = rows / options.sequence_length;
  Routes routes;
  const Device device = lv.device();
  const Tensor weights = Tensor::empty({rows, slots}, lv.dtype(), device);
  routes.ids = Tensor::empty({rows, slots}, DType::kI32, device);
  routes.scores = Tensor::like(lv);
  routes.lse = Tensor::empty({rows}, lv.dtype(), device);
  routes.counts = Tensor::empty({sequences, experts}, DType::kF64, device);
  routes.score_sums = Tensor::empty({sequences, experts}, DType::kF64, device);
  ops::call(&Backend::router, "route", {&lv, &valid},
            RouterArgs{.logits = view_of(lv),
                       .valid = view_of(valid),
                       .replay = view_of(options.replay),
                       .scores = view_of(routes.scores),
                       .ids = view_of(routes.ids),
                       .weights = view_of(weights),
                       .counts = view_of(routes.counts),
                       .score_sums = view_of(routes.score_sums),
                       .lse = view_of(routes.lse),
                       .sequence_length = options.sequence_length,
                       .normalize = options.normalize,
                       .scale = options.scale});
  const Tensor coef =
      options.score_coef ? options.score_coef(routes.counts, routes.score_sums) : Tensor();
  routes.weights =
      record("route", {logits}, weights,
             [=, scores = routes.scores, ids = routes.ids, lse = routes.lse,
              length = options.sequence_length, normalize = options.normalize,
              factor = options.scale, z_coef = options.z_coef](const Tensor& dweights) -> Grads {
               const Tensor dlogits = Tensor::like(scores);
               ops::call(&Backend::router_grad, "route_grad", {&scores, &dweights},
                         RouterGradArgs{.scores = view_of(scores),
                                        .valid = view_of(valid),
                                        .ids = view_of(ids),
                                        .weights = view_of(weights),
                                        .lse = view_of(lse),
                                        .dweights = view_of(dweights),
                                        .score_coef = view_of(coef),
                                        .dlogits = view_of(dlogits),
                                        .sequence_length = length,
                                        .normalize = normalize,
                                        .scale = factor,
                                        .z_coef = z_coef});
               return {dlogits};
             });
  return routes;
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
