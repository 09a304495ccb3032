// SPDX-License-Identifier: Apache-2.0
#include "moe/balance.h"

namespace orthant {
namespace {

// c of one sequence.
void coefficients(const BalanceConfig& config, const BalanceSizes& sizes, const RouteSums& sums,
                  int64_t s, double tokens, double* coef) {
  const int64_t experts = sums.counts.dim(1), groups = sums.group_counts.dim(1);
  const int64_t group_size = experts / groups;
  const double* counts = sums.counts.as<double>() + s * experts;
  const double* sent = sums.group_counts.as<double>() + s * groups;
  const double* plain =
      config.sequence != 0.0 ? sums.plain_counts.as<double>() + s * experts : nullptr;
  // What turns counts into f and f''.
  const double per_expert =
      static_cast<double>(experts) / (static_cast<double>(sizes.experts_per_token) * tokens);
  const double per_group =
      static_cast<double>(groups) / (static_cast<double>(sizes.top_groups) * tokens);
  for (int64_t d = 0; d < groups; ++d) {
    double sum = 0;
    for (int64_t e = d * group_size; e < (d + 1) * group_size; ++e) sum += counts[e] * per_expert;
    const double of_group = config.device * sum / static_cast<double>(group_size) +
                            config.communication * sent[d] * per_group;
    for (int64_t e = d * group_size; e < (d + 1) * group_size; ++e) {
      coef[e] = config.expert * counts[e] * per_expert + of_group;
      if (plain) coef[e] += config.sequence * plain[e] * per_expert;
    }
  }
}

}  // namespace

BalanceTerms balance_losses(const BalanceConfig& config, const BalanceSizes& sizes,
                            const RouteSums& sums, const Tensor& tokens) {
  const int64_t sequences = sums.counts.dim(0), experts = sums.counts.dim(1);
  BalanceTerms terms{Tensor::zeros({sequences}, DType::kF64),
                     Tensor::zeros({sequences, experts}, DType::kF64)};
  for (int64_t s = 0; s < sequences; ++s) {
    if (tokens.as<double>()[s] == 0) continue;  // a fully masked sequence
    double* coef = terms.score_coef.as<double>() + s * experts;
    coefficients(config, sizes, sums, s, tokens.as<double>()[s], coef);
    double loss = 0;
    for (int64_t e = 0; e < experts; ++e)
      loss += coef[e] * sums.score_sums.as<double>()[s * experts + e];
    terms.losses.as<double>()[s] = loss;
  }
  return terms;
}

}  // namespace orthant
