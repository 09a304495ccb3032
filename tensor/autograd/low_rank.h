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

// Some rows of a matrix [N, ...].
struct RowSet {
  bool all = true;
  Tensor rows = {};  // else i32 [N]: n, or -1 where row n is none of them; undefined: there is none
  bool is_none() const { return !all && !rows.defined(); }
};

// b [rows, rank] of a part of the product's columns, those from `begin` on; grouped
// [E, rows, rank].
struct LowRankPart {
  Weight* b = nullptr;
  int64_t begin = 0;
  double scale = 1.0;
  RowSet rows = {};  // of y, that get it
};
// What is added to y = x w^T: to the columns of each part scale * (x a^T) b^T, a its rows of `a`.
// Several parts may have the same columns.
struct LowRank {
  Weight* a = nullptr;  // [sum of the parts' ranks, in], part by part; grouped [E, ranks, in]
  std::vector<LowRankPart> parts;
};

// y [N, out] = x [N, in] w^T with what `low` adds.  low_x [N, in]: what the adapters see in place
// of x; not given: x itself.  offsets: of grouped weights, as in grouped_linear.
Var adapted_linear(const Var& x, Weight& w, const LowRank& low, const RowOffsets& offsets = nullptr,
                   const Var& low_x = {});

// x [N, D] with its columns times factors: from `begin` on by magnitude / norm, element by element,
// the others by 1.  Gradients go to the magnitudes (in wide_of(x)); the norms are taken for
// constants.  Liu et al., arXiv:2402.09353, section 4.3.  offsets: the magnitudes are grouped
// [E, width], and a row has those of its group.
struct ColumnScale {
  Weight* magnitude = nullptr;  // [width], or [E, width]
  Tensor norm;                  // of its shape
  int64_t begin = 0;
};
Var scale_columns(const Var& x, std::vector<ColumnScale> scales,
                  const RowOffsets& offsets = nullptr);

}  // namespace orthant
