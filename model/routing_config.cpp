// SPDX-License-Identifier: Apache-2.0
// What the keys of routing and balance must satisfy together.
#include "base/log.h"
#include "base/problems.h"
#include "model/config.h"

namespace orthant {
namespace {

// model.aux_loss_alpha, unless `value` was given too.
void settle(double& value, double from_model, double fallback, const char* name) {
  if (value == kOpen) {
    value = from_model == kOpen ? fallback : from_model;
  } else if (from_model != kOpen && from_model != value) {
    log::info(name, ": ", value, " is used, model.aux_loss_alpha: ", from_model, " is not");
  }
}

void check_groups(const ModelConfig& m, Problems& problems) {
  const int64_t groups = m.n_group, open = m.topk_group;
  problems.want(m.n_routed_experts % groups == 0, "model.n_group: ", groups, " does not divide ",
                m.n_routed_experts, " experts (n_routed_experts)");
  problems.want(open <= groups, "model.topk_group: want at most n_group ", groups, ", got ", open);
  const int64_t size = m.n_routed_experts / groups;
  problems.want(open * size >= m.num_experts_per_tok, "model.topk_group: ", open, " groups of ",
                size, " experts have ", open * size, ", want at least num_experts_per_tok ",
                m.num_experts_per_tok);
  problems.want(m.topk_method != TopkMethod::kGreedy || groups == 1,
                "model.topk_method: greedy knows no "
                "groups, and n_group is ",
                groups, "; want group_limited_greedy (with topk_group ", groups,
                " every group is open), or n_group 1");
  problems.want(m.topk_method != TopkMethod::kNoAuxTc || m.scoring_func == ScoreKind::kSigmoid,
                "model.topk_method: noaux_tc wants scoring_func sigmoid, got ",
                score_names().of(m.scoring_func));
}

void check_balance(const ModelConfig& m, const MoeConfig& moe, Problems& problems) {
  const auto wants_groups = [&](const char* name, double value, const char* why) {
    problems.want(value <= 0 || m.n_group > 1, "moe.", name, ": ", value,
                  " wants more than one group of experts (model.n_group), got ", m.n_group, why);
  };
  wants_groups("balance.device", moe.balance.device, "; one group is always even");
  wants_groups("balance.communication", moe.balance.communication, "; one group is always even");
  wants_groups("capacity_factor", moe.capacity_factor,
               "; the budget is a group's share of a sequence");
  problems.want(moe.capacity_factor <= 0 || !m.has_router_bias(),
                "moe.capacity_factor: ", moe.capacity_factor,
                " and topk_method noaux_tc exclude each other: the bias "
                "balances by itself and nothing is dropped; set 0");
  problems.want(moe.bias_update_rate <= 0 || m.has_router_bias(),
                "moe.bias_update_rate: ", moe.bias_update_rate,
                " wants topk_method noaux_tc, which has the bias, got ",
                topk_method_names().of(m.topk_method));
  for (const auto& [name, value] : {std::pair{"balance.expert", moe.balance.expert},
                                    {"balance.sequence", moe.balance.sequence},
                                    {"bias_update_rate", moe.bias_update_rate}})
    problems.want(value >= 0, "moe.", name, ": want a number >= 0, or -1 to leave it open, got ",
                  value);
}

}  // namespace

const EnumNames<TopkMethod>& topk_method_names() {
  using enum TopkMethod;
  static const EnumNames<TopkMethod> names = {
      {kGreedy, "greedy"}, {kGroupLimitedGreedy, "group_limited_greedy"}, {kNoAuxTc, "noaux_tc"}};
  return names;
}

const EnumNames<ScoreKind>& score_names() {
  static const EnumNames<ScoreKind> names = {{ScoreKind::kSoftmax, "softmax"},
                                             {ScoreKind::kSigmoid, "sigmoid"}};
  return names;
}

void resolve_routing(const ModelConfig& m, MoeConfig& moe) {
  const bool v3 = m.has_router_bias();
  settle(moe.balance.expert, v3 ? kOpen : m.aux_loss_alpha, v3 ? 0.0 : 0.001, "moe.balance.expert");
  settle(moe.balance.sequence, v3 ? m.aux_loss_alpha : kOpen, v3 ? 0.0001 : 0.0,
         "moe.balance.sequence");
  if (moe.bias_update_rate == kOpen) moe.bias_update_rate = v3 ? 0.001 : 0.0;
  if (!m.is_moe()) return;
  Problems problems;
  check_groups(m, problems);
  check_balance(m, moe, problems);
  problems.want(m.aux_loss_alpha == kOpen || m.aux_loss_alpha >= 0,
                "model.aux_loss_alpha: want a number >= 0, got ", m.aux_loss_alpha);
  problems.raise();
}

}  // namespace orthant
