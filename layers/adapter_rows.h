// SPDX-License-Identifier: Apache-2.0
// What the rows of a pass mean to a model's adapters.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/autograd/low_rank.h"

namespace orthant {

// In training: which tokens of the step the rows are, i64.  Dropout is a function of the token.
struct AdapterRows {
  uint64_t step = 0;
  Tensor local, own;  // all rows that tensor-parallel ranks share, and those that are one's own
};

// In decoding, where a model has adapters by name: which rows have which of them.
class RowChoice {
 public:
  RowChoice() = default;
  // adapters: by row, the number of its adapter, or -1 for none.
  RowChoice(std::span<const int64_t> adapters, size_t num_adapters, Device device);

  int64_t num_rows() const { return num_rows_; }
  const RowSet& of(size_t adapter) const { return sets_[adapter]; }

 private:
  int64_t num_rows_ = 0;
  std::vector<RowSet> sets_;  // by adapter
};

// Of a step of decoding.
struct ChosenAdapters {
  RowChoice local, own;
  RowChoice last;  // of the rows whose logits are wanted
  Tensor
      own_marks;  // i64: 1 + the number of a row's adapter, 0 for none; as tokens travel to experts
};

}  // namespace orthant
