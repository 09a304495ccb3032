// SPDX-License-Identifier: Apache-2.0
// Products beside which adapters of low rank stand.  Hu et al., arXiv:2106.09685.
#pragma once

#include <memory>
#include <vector>

#include "tensor/autograd/ops.h"

namespace orthant {

// Where each group's rows begin in rows that are sorted by group, and where the last one's end;
// null: there are no groups.
using RowOffsets = std::shared_ptr<const std::vector<int64_t>>;

// b [rows, rank] of a part of the product's columns, those from `begin` on; grouped [E, rows, rank].
struct LowRankPart {
  Weight* b = nullptr;
  int64_t begin = 0;
  double scale = 1.0;
};
// What is added to y = x w^T: to the columns of each part scale * (x a^T) b^T, a its rows of `a`.
struct LowRank {
  Weight* a = nullptr;  // [sum of the parts' ranks, in], part by part; grouped [E, ranks, in]
  std::vector<LowRankPart> parts;
};

// y [N, out] = x [N, in] w^T with what `low` adds.  low_x [N, in]: what the adapters see in place
// of x; not given: x itself.  offsets: of grouped weights, as in grouped_linear.
Var adapted_linear(const Var& x, Weight& w, const LowRank& low, const RowOffsets& offsets = nullptr,
                   const Var& low_x = {});

}  // namespace orthant
