// SPDX-License-Identifier: Apache-2.0
#include "moe/moe_layer.h"

#include <algorithm>
#include <cmath>

#include "moe/balance.h"

namespace orthant {
namespace {

// Sums over each sequence's valid tokens of factor * lse^2, on the host.  lse and valid: own
// tokens.
Tensor z_losses(const Tensor& lse, const Tensor& valid, const TokenRows& rows, double factor) {
  const Tensor sums = Tensor::zeros({rows.sequences()}, DType::kF64);
  if (factor == 0.0) return sums;
  const std::vector<double> values = lse.to_doubles();
  const Tensor host_valid = valid.to(Device{});
  const int32_t* counts = host_valid.as<int32_t>();
  for (int64_t t = 0; t < lse.numel(); ++t) {
    const double value = values[static_cast<size_t>(t)];
    if (counts[t])
      sums.as<double>()[(rows.first() + t) / rows.local_length()] += factor * value * value;
  }
  rows.sum(sums);
  return sums;
}

}  // namespace

MoeLayer::MoeLayer(const LayerBuilder& build, const std::string& prefix, int64_t layer,
                   const MoeSizes& sizes, const MoeConfig& config)
    : layer_(layer),
      sizes_(sizes),
      config_(config),
      tensor_(build.tensor()),
      placement_(build.ranks),
      // Every rank routes its own tokens, also where the stream is whole.
      router_(build, prefix + "gate", sizes.width, {{prefix + "gate.weight", sizes.experts}},
              {.dtype = build.wide(), .replicas = Replicas::kRows}),
      gate_up_(build, prefix + "experts.gate_up", prefix + "experts.",
               placement_.shard(sizes.experts), InnerDim::kOut, sizes.width,
               {{"gate_proj.weight", sizes.inner}, {"up_proj.weight", sizes.inner}}),
      down_(build, prefix + "experts.down", prefix + "experts.", placement_.shard(sizes.experts),
            InnerDim::kIn, sizes.inner, {{"down_proj.weight", sizes.width}}),
      adapters_(build.adapters) {
  // Beside adapters the model stays as it is.
  if (build.adapters) config_.bias_update_rate = 0.0;
  if (sizes.bias) {
    const std::string name = prefix + "gate.e_score_correction_bias";
    bias_ = &build.store
                 .add({.name = name,
                       .shape = {sizes.experts},
                       .dtype = build.wide(),
                       .device = build.device,
                       .logical = {whole_tensor(name, {sizes.experts}, 0, 0.0)},
                       .trainable = false})
                 .parameter();
  }
  if (sizes.shared_experts > 0) {
    shared_.emplace(build, prefix + "shared_experts.", sizes.width,
                    sizes.shared_experts * sizes.inner);
  }
}

RouterOptions MoeLayer::router_options(const MoeContext& context, Device device) const {
  RouterOptions options{.experts_per_token = sizes_.experts_per_token,
                        // A rank that decodes nothing still answers for its experts.
                        .sequence_length = std::max<int64_t>(1, context.rows.local_length()),
                        .sequences = context.rows.sequences(),
                        .first_row = context.rows.first(),
                        .score = sizes_.score,
                        .num_groups = sizes_.groups,
                        .top_groups = sizes_.top_groups,
                        .group_best = sizes_.group_best,
                        .normalize = sizes_.normalize,
                        .scale = sizes_.scale,
                        .plain_counts = config_.balance.sequence != 0.0};
  if (bias_) options.bias = bias_->value();
  if (context.replay) {
    const Tensor ids = context.replay(layer_);
    if (ids.defined()) options.replay = context.rows.own(ids).to(device);
  }
  return options;
}

MoeLayer::Choice MoeLayer::choose(const Var& x, MoeContext& context) const {
  const Device device = x.value().device();
  const Tensor& valid = context.own_valid;
  const RouterOptions options = router_options(context, device);
  const auto widen = [](const Var& v) { return cast(v, wide_of(v.value().dtype())); };
  const Var logits = router_.forward(remake(widen, x));
  const Routes routes = choose_experts(logits.value(), valid, options);
  if (!context.counts) return {routes.ids, Var(routes.weights)};
  const RouteSums sums = routes.sums.to(Device{});
  context.rows.sum(sums.all);
  const BalanceTerms balance = balance_losses(
      config_.balance,
      {.experts_per_token = sizes_.experts_per_token, .top_groups = sizes_.top_groups}, sums,
      context.routed_tokens);
  const Tensor coef = balance.score_coef.clone();
  for (double& c : coef.span<double>()) c *= context.loss_scale;
  const RouterLosses losses{.score_coef = coef.to(device),
                            .z_coef = config_.balance.z_loss * context.loss_scale};
  Choice choice{routes.ids, route(logits, valid, routes, options, losses)};
  LayerRouting routing{
      .layer = layer_,
      .ids = routes.ids,
      .counts = sums.counts,
      .balance_losses = balance.losses,
      .z_losses = z_losses(routes.lse, valid, context.rows, config_.balance.z_loss)};
  if (config_.capacity_factor > 0 && context.protected_rows.defined())
    choice.ids = keep_within_budget(routes, context, routing);
  if (!is_recomputing()) context.routings.push_back(std::move(routing));
  return choice;
}

// A budget is of whole sequences: every rank sees all their assignments and makes the same cut.
Tensor MoeLayer::keep_within_budget(const Routes& routes, const MoeContext& context,
                                    LayerRouting& routing) const {
  Routes all = routes;
  all.ids = context.rows.gather(routes.ids);
  all.chosen_scores = context.rows.gather(routes.chosen_scores);
  const KeptTokens kept = drop_tokens(all, context.valid, context.protected_rows,
                                      {.sequence_length = context.rows.length(),
                                       .num_experts = sizes_.experts,
                                       .num_groups = sizes_.groups,
                                       .capacity_factor = config_.capacity_factor});
  routing.dropped = kept.dropped.to(Device{});
  return context.rows.own(kept.ids);
}

void MoeLayer::update_bias(std::span<const double> counts) const {
  if (!bias_ || config_.bias_update_rate <= 0.0) return;
  double total = 0;
  for (const double count : counts) total += count;
  std::vector<double> bias = bias_->value().to_doubles();
  for (size_t e = 0; e < bias.size(); ++e) {
    // Whole numbers: an expert that has the mean exactly stays where it is.
    const double lacking = total - counts[e] * static_cast<double>(counts.size());
    if (lacking != 0) bias[e] += std::copysign(config_.bias_update_rate, lacking);
  }
  copy(Tensor::from(bias_->value().shape(), bias, DType::kF64), bias_->value());
  bias_->value_changed();
}

Var MoeLayer::forward(const Var& stream, MoeContext& context) const {
  const int64_t rows = context.rows.num_local();
  const Var x = tensor_.own_rows(stream, rows);
  const Choice choice = choose(x, context);
  const Dispatch dispatch(placement_, sizes_.experts, choice.ids);
  AllToAll travelling = dispatch.send(x);
  // While the rows are on their way.
  const Var shared = shared_ ? shared_->forward(stream, rows) : Var();
  const Var arrived = dispatch.receive(travelling);
  if (adapters_ && adapters_->follows_rows())
    adapters_->set_expert_rows(dispatch.expert_tokens(adapters_->own_rows()), sizes_.experts);
  const Var inner = remake(swiglu, gate_up_.forward(arrived, dispatch.offsets()));
  const Var expert_out = dispatch.send_back(down_.forward(inner, dispatch.offsets()));
  const Var routed =
      tensor_.stream_of(combine(expert_out, choice.weights, dispatch.row_of()), rows);
  return shared_ ? add(shared, routed) : routed;
}

}  // namespace orthant
