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
#include <span>
#include <vector>

#include "layers/feed_forward.h"
#include "layers/grouped_linear.h"
#include "moe/config.h"
#include "moe/dispatch.h"
#include "parallel/token_rows.h"

namespace orthant {

// Routing of one layer and micro-batch, for metrics, balance and replay.
struct LayerRouting {
  int64_t layer = 0;
  Tensor
      ids;  // i32 [N, A] of this rank's own tokens, before any are dropped, on the model's device
  // All that follows is on the host, of all tokens.
  Tensor counts;                    // f64 [S, E], likewise
  Tensor dropped;                   // f64 [S]: assignments; undefined where nothing can be dropped
  Tensor balance_losses, z_losses;  // f64 [S]: sums over the sequence's routed tokens
};

// What a forward pass tells its MoE layers, and what they tell back.
struct MoeContext {
  TokenRows rows;        // of a micro-batch of N tokens
  Tensor valid;          // i32 [N]: 0 for padding, which is routed nowhere
  Tensor own_valid;      // of own rows
  Tensor routed_tokens;  // f64 [S], on the host: tokens of a sequence that are no padding
  // i32 [S]: sequences whose tokens are never dropped (moe/protected_rows.h).  Given in training
  // alone: without it nothing is dropped.
  Tensor protected_rows;
  bool counts = true;  // false in decoding: nothing is summed, balanced or recorded
  // Labelled tokens over routed tokens of the whole step: backward runs on sums that are divided
  // once, by the labelled count, and this makes the balance terms means over the routed ones.
  double loss_scale = 1.0;
  std::function<Tensor(int64_t layer)> replay;  // choices i32 [N, A] to use instead of the
                                                // router's, on any device; may be empty
  std::vector<LayerRouting> routings;  // appended by every layer, but not again under recomputation
};

// Words in comments are those of config.json.
struct MoeSizes {
  int64_t width = 0, inner = 0, experts = 0, experts_per_token = 0, shared_experts = 0;
  ScoreKind score = ScoreKind::kSoftmax;  // scoring_func
  int64_t groups = 1, top_groups = 1;     // n_group, topk_group
  int64_t group_best = 1;                 // 2 with noaux_tc
  bool bias = false;                      // noaux_tc: e_score_correction_bias
  bool normalize = false;                 // norm_topk_prob
  double scale = 1.0;                     // routed_scaling_factor
};

class MoeLayer {
 public:
  // Logical names: prefix + "gate.weight", "gate.e_score_correction_bias",
  // "experts.E.gate_proj.weight", "shared_experts.gate_proj.weight", ...
  MoeLayer(const LayerBuilder& build, const std::string& prefix, int64_t layer,
           const MoeSizes& sizes, const MoeConfig& config);
  int64_t layer() const { return layer_; }
  // x of the stream (layers/tensor_parallel.h).  Collective over the experts' and the tensor group,
  // in forward and backward.
  Var forward(const Var& x, MoeContext& context) const;
  // Shows that the map from choices to experts which the losses count by is the one that dispatch
  // sends tokens by, and that what answers for an expert is its weight: Error(kInternal) naming
  // layer and expert otherwise.  Collective over the placement's group.
  void check_routing() const;
  // Moves the selection bias, if there is one, towards experts with few tokens:
  //   b_i += rate * sign(mean_j counts_j - counts_i)
  // DeepSeek-V3, arXiv:2412.19437, section 2.1.2.  counts [E]: tokens of the whole step by expert.
  void update_bias(std::span<const double> counts) const;

 private:
  struct Choice {
    Tensor ids;   // of the kept assignments
    Var weights;  // of all
  };
  // x: own tokens.
  Choice choose(const Var& x, MoeContext& context) const;
  Tensor keep_within_budget(const Routes& routes, const MoeContext& context,
                            LayerRouting& routing) const;
  RouterOptions router_options(const MoeContext& context, Device device) const;

  int64_t layer_;
  MoeSizes sizes_;
  MoeConfig config_;
  TensorParallel tensor_;
  ExpertPlacement placement_;
  Linear router_;              // in the wide type
  Parameter* bias_ = nullptr;  // likewise; no gradient
  GroupedLinear gate_up_, down_;
  std::optional<FeedForward> shared_;
  std::shared_ptr<AdapterSet> adapters_;  // may be null
};

}  // namespace orthant
