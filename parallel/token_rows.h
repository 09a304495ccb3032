// SPDX-License-Identifier: Apache-2.0
// Which tokens of a micro-batch [sequences, length] a rank works on.
//
// Context-parallel ranks hold the parts of every sequence that SequenceSplit gives them: the local
// rows, [sequences, local_length].  Tensor-parallel ranks share these out once more where each row
// is one rank's own: routing, and with sequence parallelism all that stands between the blocks.
#pragma once

#include <vector>

#include "parallel/comm/group.h"
#include "parallel/context/sequence_split.h"

namespace orthant {

class TokenRows {
 public:
  TokenRows() = default;
  // The groups of the ranks that share the micro-batch, and all of them, tensor ranks varying
  // fastest.
  TokenRows(const Group& context, const Group& tensor, const Group& sharing, int64_t sequences,
            int64_t length);

  int64_t sequences() const { return sequences_; }
  int64_t length() const { return length_; }
  int64_t local_length() const { return length_ / context_ranks_; }
  int64_t num_local() const { return sequences_ * local_length(); }
  // Own rows: [first, first + count) of the local ones.
  int64_t first() const { return first_; }
  int64_t count() const { return count_; }

  // Out of rows of the whole micro-batch [sequences * length, ...]: this rank's local or own ones.
  Tensor local(const Tensor& whole) const;
  Tensor own(const Tensor& whole) const { return own_of_local(local(whole)); }
  Tensor own_of_local(const Tensor& local) const { return local.slice(first_, first_ + count_); }
  // The whole micro-batch's rows from everybody's own ones.  Collective.
  Tensor gather(const Tensor& own) const;
  // Sums over ranks of what was counted over own rows, in place, on the host.  Collective.
  void sum(const Tensor& counted) const;

  // Local rows [begin, end) are tokens token, token + 1, ... of the whole micro-batch.
  struct Run {
    int64_t begin, end, token;
  };
  // Of local rows [begin, end).
  std::vector<Run> runs(int64_t begin, int64_t end) const;

 private:
  SequenceSplit split() const { return {length_, context_ranks_}; }
  std::vector<int64_t> whole_rows(int context_rank) const {
    return split().rows_of(context_rank, sequences_);
  }

  Group sharing_ = Group::self();
  int64_t sequences_ = 0, length_ = 0;
  int context_ranks_ = 1, context_rank_ = 0, tensor_ranks_ = 1;
  int64_t first_ = 0, count_ = 0;
};

}  // namespace orthant
