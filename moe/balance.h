// SPDX-License-Identifier: Apache-2.0
// Balance losses of one layer's routing.  Formulas: DeepSeek-V2, arXiv:2405.04434, sections 2.2.2
// and 2.2.3; DeepSeek-V3, arXiv:2412.19437, section 2.1.2.
//
// Over a sequence of T tokens, E experts of which a token chooses K, in D groups of which it may
// use M:
//   P_i = mean score of i (sigmoid: divided by the token's sum)
//   expert         a1 sum_i f_i P_i           f_i = E / (K T) * (tokens that chose i)
//   device         a2 sum_d f'_d P'_d         f'_d = mean f_i of the group, P'_d = sum P_i
//   communication  a3 sum_d f''_d P'_d        f''_d = D / (M T) * (tokens sent to the group)
//   sequence       alpha sum_i g_i P_i        g_i as f_i, of the K best raw scores
// The counts carry no gradient and are of the choice before tokens are dropped, so that all four
// are sum_i c_i P_i with constant c.  Layers add; sequences are averaged weighted by their routed
// tokens (docs/numerics.md).  A "device" of the papers is a group of experts here, wherever they
// live.
#pragma once

#include "moe/config.h"
#include "tensor/autograd/ops.h"

namespace orthant {

struct BalanceTerms {
  Tensor losses;  // f64 [S]: T * L of each sequence: their sum over routed tokens is the mean
  Tensor
      score_coef;  // f64 [S, E]: c, the gradient of sum(T * L) by what RouteSums::score_sums adds
};

struct BalanceSizes {
  int64_t experts_per_token = 1;  // K
  int64_t top_groups = 1;         // M
};

// sums of route() and tokens f64 [S] (T of each sequence) are on the host; so are the results.
BalanceTerms balance_losses(const BalanceConfig& config, const BalanceSizes& sizes,
                            const RouteSums& sums, const Tensor& tokens);

}  // namespace orthant
