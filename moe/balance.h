// SPDX-License-Identifier: Apache-2.0
// Balance losses of one layer's routing.  Formulas: DeepSeek-V2, arXiv:2405.04434, section 2.2.2.
//
// Over a sequence of T tokens:  f_i = E / (K T) * (tokens that chose i),  P_i = mean score of i,  L
// = alpha * sum_i f_i P_i. f carries no gradient.  Layers add; sequences are averaged weighted by
// their routed tokens (docs/numerics.md).
#pragma once

#include "moe/config.h"
#include "tensor/tensor.h"

namespace orthant {

struct BalanceTerms {
  Tensor
      losses;  // f64 [S]: T * L of each sequence, so that their sum over routed tokens is the mean
  Tensor score_coef;  // f64 [S, E]: gradient of sum(T * L) by the score of expert i of any token:
                      // alpha * f_i
};

// counts and score_sums f64 [S, E] of route(), on the host; so are the results.
BalanceTerms expert_balance(const BalanceConfig& config, const Tensor& counts,
                            const Tensor& score_sums);

}  // namespace orthant
