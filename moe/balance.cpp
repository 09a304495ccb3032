// SPDX-License-Identifier: Apache-2.0
#include "moe/balance.h"

namespace orthant {

BalanceTerms expert_balance(const BalanceConfig& config, const Tensor& counts,
                            const Tensor& score_sums) {
  const int64_t sequences = counts.dim(0), experts = counts.dim(1);
  BalanceTerms terms{Tensor::zeros({sequences}, DType::kF64),
                     Tensor::zeros({sequences, experts}, DType::kF64)};
  for (int64_t s = 0; s < sequences; ++s) {
    const double* chosen = counts.as<double>() + s * experts;
    const double* sums = score_sums.as<double>() + s * experts;
    double* coef = terms.score_coef.as<double>() + s * experts;
    double assignments = 0, loss = 0;  // assignments = K * T
    for (int64_t e = 0; e < experts; ++e) assignments += chosen[e];
    if (assignments == 0) continue;  // a fully masked sequence
    for (int64_t e = 0; e < experts; ++e) {
      coef[e] = config.expert * static_cast<double>(experts) * chosen[e] / assignments;
      loss += coef[e] * sums[e];
    }
    terms.losses.as<double>()[s] = loss;
  }
  return terms;
}

}  // namespace orthant
