// SPDX-License-Identifier: Apache-2.0
// A DeepSeek-style MoE feed-forward layer: fine-grained routed experts, and shared experts that
// every token visits.
//
//   y = shared(x) + sum over the chosen experts i of g_i * expert_i(x),   g = scores of the router
//   (route() in tensor/autograd/ops.h)
//
// Dai et al., arXiv:2401.06066; DeepSeek-V2, arXiv:2405.04434.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "layers/linear.h"
#include "moe/config.h"
#include "moe/dispatch.h"

namespace orthant {

// Routing of one layer and micro-batch, for metrics, balance and replay.
struct LayerRouting {
  int64_t layer = 0;
  Tensor ids;                       // i32 [N, A], on the model's device; the rest on the host
  Tensor counts;                    // f64 [S, E]
  Tensor balance_losses, z_losses;  // f64 [S]: sums over the sequence's routed tokens
};

// What a forward pass tells its MoE layers, and what they tell back.
struct MoeContext {
  Tensor valid;                 // i32 [N]: 0 for padding, which is routed nowhere
  int64_t sequence_length = 0;  // N = sequences * sequence_length
  // Labelled tokens over routed tokens of the whole step: backward runs on sums that are divided
  // once, by the labelled count, and this makes the balance terms means over the routed ones.
  double loss_scale = 1.0;
  std::function<Tensor(int64_t layer)> replay;  // choices to use instead of the router's, on any
                                                // device; may be empty
  std::vector<LayerRouting> routings;  // appended by every layer, but not again under recomputation
};

struct MoeSizes {
  int64_t width = 0, inner = 0, experts = 0, experts_per_token = 0, shared_experts = 0;
  bool normalize = false;  // norm_topk_prob
  double scale = 1.0;      // routed_scaling_factor
};

class MoeLayer {
 public:
  // Logical names: prefix + "gate.weight", "experts.E.gate_proj.weight",
  // "shared_experts.gate_proj.weight", ...
  MoeLayer(const LayerBuilder& build, const std::string& prefix, int64_t layer,
           const MoeSizes& sizes, const MoeConfig& config, const ExpertPlacement& placement);
  // x [N, D].  Collective over the placement's group, in forward and backward.
  Var forward(const Var& x, MoeContext& context) const;

 private:
  Routes choose(const Var& x, MoeContext& context) const;

  int64_t layer_;
  MoeSizes sizes_;
  MoeConfig config_;
  ExpertPlacement placement_;
  Linear router_;  // in the wide type
  GroupedLinear gate_up_, down_;
  std::optional<FeedForward> shared_;
};

}  // namespace orthant
