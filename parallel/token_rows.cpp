// SPDX-License-Identifier: Apache-2.0
#include "parallel/token_rows.h"

#include <vector>

namespace orthant {
namespace {

int64_t share_begin(int64_t total, int rank, const Group& group) {
  return total * rank / group.size();
}

}  // namespace

TokenRows::TokenRows(const Group& sharing, int64_t num_sequences, int64_t sequence_length)
    : group(sharing), sequences(num_sequences), length(sequence_length) {
  first = share_begin(total(), group.rank(), group);
  count = share_begin(total(), group.rank() + 1, group) - first;
}

Tensor TokenRows::gather(const Tensor& own) const {
  if (group.size() == 1) return own;
  std::vector<int64_t> counts;
  for (int r = 0; r < group.size(); ++r)
    counts.push_back(share_begin(total(), r + 1, group) - share_begin(total(), r, group));
  Shape shape = own.shape();
  shape[0] = total();
  const Tensor all = Tensor::empty(shape, own.dtype(), own.device());
  group.all_gather(own, all, counts).wait();
  return all;
}

void TokenRows::sum(const Tensor& counted) const {
  if (group.size() > 1) group.all_reduce(counted).wait();
}

}  // namespace orthant
