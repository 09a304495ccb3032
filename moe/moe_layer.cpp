// SPDX-License-Identifier: Apache-2.0
#include "moe/moe_layer.h"

#include "moe/balance.h"

namespace orthant {
namespace {

// Sums over each sequence's valid tokens of factor * lse^2, on the host.
Tensor z_losses(const Tensor& lse, const Tensor& valid, int64_t length, double factor) {
  const std::vector<double> values = lse.to_doubles();
  const Tensor sums = Tensor::zeros({lse.numel() / length}, DType::kF64);
  if (factor == 0.0) return sums;
  const Tensor host_valid = valid.to(Device{});
  const int32_t* counts = host_valid.as<int32_t>();
  for (int64_t t = 0; t < lse.numel(); ++t) {
    const double value = values[static_cast<size_t>(t)];
    if (counts[t]) sums.as<double>()[t / length] += factor * value * value;
  }
  return sums;
}

}  // namespace

MoeLayer::MoeLayer(const LayerBuilder& build, const std::string& prefix, int64_t layer,
                   const MoeSizes& sizes, const MoeConfig& config, const ExpertPlacement& placement)
    : layer_(layer),
      sizes_(sizes),
      config_(config),
      placement_(placement),
      router_(build, prefix + "gate", sizes.width, {{prefix + "gate.weight", sizes.experts}},
              build.wide()),
      gate_up_(build, prefix + "experts.gate_up", prefix + "experts.",
               placement.shard(sizes.experts), InnerDim::kOut, sizes.width,
               {{"gate_proj.weight", sizes.inner}, {"up_proj.weight", sizes.inner}}),
      down_(build, prefix + "experts.down", prefix + "experts.", placement.shard(sizes.experts),
            InnerDim::kIn, sizes.inner, {{"down_proj.weight", sizes.width}}) {
  if (sizes.shared_experts > 0) {
    shared_.emplace(build, prefix + "shared_experts.", sizes.width,
                    sizes.shared_experts * sizes.inner);
  }
}

Routes MoeLayer::choose(const Var& x, MoeContext& context) const {
  const double scale = context.loss_scale;
  BalanceTerms balance;
  RouterOptions options{.experts_per_token = sizes_.experts_per_token,
                        .sequence_length = context.sequence_length,
                        .normalize = sizes_.normalize,
                        .scale = sizes_.scale,
                        .z_coef = config_.balance.z_loss * scale};
  const Device device = x.value().device();
  if (context.replay) {
    const Tensor ids = context.replay(layer_);
    if (ids.defined()) options.replay = ids.to(device);
  }
  Tensor host_counts;
  options.score_coef = [&](const Tensor& counts, const Tensor& score_sums) {
    host_counts = counts.to(Device{});
    balance = expert_balance(config_.balance, host_counts, score_sums.to(Device{}));
    const Tensor coef = balance.score_coef.clone();
    for (double& c : coef.span<double>()) c *= scale;
    return coef.to(device);
  };
  Routes routes =
      route(router_.forward(cast(x, wide_of(x.value().dtype()))), context.valid, options);
  if (!is_recomputing()) {
    context.routings.push_back(
        {.layer = layer_,
         .ids = routes.ids,
         .counts = host_counts,
         .balance_losses = balance.losses,
         .z_losses =
             z_losses(routes.lse, context.valid, context.sequence_length, config_.balance.z_loss)});
  }
  return routes;
}

Var MoeLayer::forward(const Var& x, MoeContext& context) const {
  const Routes routes = choose(x, context);
  const Dispatch dispatch(placement_, sizes_.experts, routes.ids);
  AllToAll travelling = dispatch.send(x);
  const Var shared = shared_ ? shared_->forward(x) : Var();  // while the rows are on their way
  const Var rows = dispatch.receive(travelling);
  const Var inner = swiglu(gate_up_.forward(rows, dispatch.offsets()));
  const Var expert_out = dispatch.send_back(down_.forward(inner, dispatch.offsets()));
  const Var routed = combine(expert_out, routes.weights, dispatch.row_of());
  return shared_ ? add(shared, routed) : routed;
}

}  // namespace orthant
