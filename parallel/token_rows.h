// SPDX-License-Identifier: Apache-2.0
// Which tokens of a micro-batch are a rank's own, where tensor-parallel ranks share them out: what
// routing works on, in the order of ranks.
#pragma once

#include "parallel/comm/group.h"

namespace orthant {

struct TokenRows {
  Group group = Group::self();  // the ranks that share the tokens
  int64_t sequences = 0, length = 0;
  int64_t first = 0, count = 0;  // own tokens: [first, first + count) of sequences * length

  TokenRows() = default;
  TokenRows(const Group& sharing, int64_t num_sequences, int64_t sequence_length);
  int64_t total() const { return sequences * length; }

  // Rows of a tensor [total(), ...]: own ones, and back.
  Tensor own(const Tensor& all) const { return all.slice(first, first + count); }
  Tensor gather(const Tensor& own) const;  // collective
  // Sums over ranks of what was counted over own tokens, in place, on the host.  Collective.
  void sum(const Tensor& counted) const;
};

}  // namespace orthant
