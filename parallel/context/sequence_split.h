// SPDX-License-Identifier: Apache-2.0
// How the ranks of a context-parallel group share a sequence: pure arithmetic.
//
// A sequence of T tokens is cut into 2P chunks, and rank i holds chunks i and 2P-1-i, in this
// order: an early token sees few keys and a late one many, so each rank gets the same work.  A
// group of one holds the sequence as it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace orthant {

class SequenceSplit {
 public:
  // Wants why_not(length, num_ranks) to be empty.
  SequenceSplit(int64_t length, int num_ranks) : length_(length), num_ranks_(num_ranks) {}
  // Why sequences of this length cannot be cut so, and what could be; empty: they can.
  static std::string why_not(int64_t length, int num_ranks);

  int num_ranks() const { return num_ranks_; }
  int64_t local_length() const { return length_ / num_ranks_; }  // tokens of a sequence on a rank
  // Chunks of a rank; a group of one has the sequence in one.
  int num_halves() const { return num_ranks_ == 1 ? 1 : 2; }
  int64_t chunk_length() const { return local_length() / num_halves(); }
  // Position of the first token of a rank's first (half 0) or second chunk.
  int64_t chunk_begin(int rank, int half) const {
    return chunk_length() * (half == 0 ? rank : 2 * num_ranks_ - 1 - rank);
  }
  // Of a rank's token `local` of a sequence.
  int64_t position(int rank, int64_t local) const {
    const int64_t half = local / chunk_length();
    return chunk_begin(rank, static_cast<int>(half)) + local % chunk_length();
  }
  // Rows of a batch of whole sequences (sequence * T + position) that a rank holds, in its order:
  // local row sequence * local_length() + local.
  std::vector<int64_t> rows_of(int rank, int64_t batch) const;

 private:
  int64_t length_;
  int num_ranks_;
};

}  // namespace orthant
