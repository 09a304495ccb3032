// SPDX-License-Identifier: Apache-2.0
// The tokens that a head finds likeliest, of rows that tensor-parallel ranks have parts of.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace orthant {

// On the host, by row: SoftTargets::ids and log_probs (tensor/autograd/soft_loss.h).
struct LikeliestTokens {
  Tensor ids;        // i32 [N, K], the likeliest first, of equal ones the lower id
  Tensor log_probs;  // f64 [N, K + 1] at the temperature; behind them that of all other tokens
};

// logits: [n, V of the part] of ids from `first` on, n = labels.size(); rows without a label stay
// as they are.  gather: f64 rows of all parts [P * n, C] from this part's; empty: the logits are
// whole.  Into rows [begin, begin + n).  Collective over the parts.
void find_likeliest(const Tensor& logits, int64_t first, double temperature,
                    std::span<const int32_t> labels,
                    const std::function<Tensor(const Tensor&)>& gather, int64_t begin,
                    const LikeliestTokens& out);

}  // namespace orthant
