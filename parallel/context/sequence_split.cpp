// SPDX-License-Identifier: Apache-2.0
#include "parallel/context/sequence_split.h"

#include <algorithm>

#include "base/error.h"

namespace orthant {

std::string SequenceSplit::why_not(int64_t length, int num_ranks) {
  const int64_t chunks = 2 * num_ranks;
  if (num_ranks == 1 || (length > 0 && length % chunks == 0)) return "";
  const int64_t below = length / chunks * chunks;
  return concat(num_ranks, " context-parallel ranks cut a sequence into ", chunks,
                " equal chunks, which ", length, " tokens do not give; ",
                below > 0 ? concat(below, " or ", below + chunks) : concat(chunks), " do");
}

std::vector<int64_t> SequenceSplit::rows_of(int rank, int64_t batch) const {
  std::vector<int64_t> rows;
  rows.reserve(static_cast<size_t>(batch * local_length()));
  for (int64_t sequence = 0; sequence < batch; ++sequence)
    for (int64_t local = 0; local < local_length(); ++local)
      rows.push_back(sequence * length_ + position(rank, local));
  return rows;
}

}  // namespace orthant
