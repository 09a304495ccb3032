// SPDX-License-Identifier: Apache-2.0
#include "parallel/token_rows.h"

#include <algorithm>
#include <cstring>

namespace orthant {
namespace {

// Rows of x at `index`, on x's device.  For small tensors: made in host memory.
Tensor rows_at(const Tensor& x, const std::vector<int64_t>& index) {
  Shape shape = x.shape();
  shape[0] = std::ssize(index);
  const Tensor from = x.to(Device{}), to = Tensor::empty(shape, x.dtype());
  const auto row_bytes =
      static_cast<size_t>(x.dim(0) == 0 ? 0 : x.numel() / x.dim(0) * size_of(x.dtype()));
  auto* out = static_cast<char*>(to.data());
  for (const int64_t row : index) {
    std::memcpy(out, static_cast<const char*>(from.data()) + static_cast<size_t>(row) * row_bytes,
                row_bytes);
    out += row_bytes;
  }
  return to.to(x.device());
}

}  // namespace

TokenRows::TokenRows(const Group& context, const Group& tensor, const Group& sharing,
                     int64_t sequences, int64_t length)
    : sharing_(sharing),
      sequences_(sequences),
      length_(length),
      context_ranks_(context.size()),
      context_rank_(context.rank()),
      tensor_ranks_(tensor.size()) {
  first_ = num_local() * tensor.rank() / tensor_ranks_;
  count_ = num_local() * (tensor.rank() + 1) / tensor_ranks_ - first_;
}

Tensor TokenRows::local(const Tensor& whole) const {
  return context_ranks_ == 1 ? whole : rows_at(whole, whole_rows(context_rank_));
}

Tensor TokenRows::gather(const Tensor& own) const {
  if (sharing_.size() == 1) return own;
  std::vector<int64_t> counts;
  for (int r = 0; r < sharing_.size(); ++r) {
    const int64_t t = r % tensor_ranks_;
    counts.push_back(num_local() * (t + 1) / tensor_ranks_ - num_local() * t / tensor_ranks_);
  }
  Shape shape = own.shape();
  shape[0] = sequences_ * length_;
  const Tensor all = Tensor::empty(shape, own.dtype(), own.device());
  sharing_.all_gather(own, all, counts).wait();
  if (context_ranks_ == 1) return all;
  // From the order of ranks to that of tokens.
  std::vector<int64_t> place(static_cast<size_t>(sequences_ * length_));
  int64_t next = 0;
  for (int rank = 0; rank < context_ranks_; ++rank)
    for (const int64_t row : whole_rows(rank)) place[static_cast<size_t>(row)] = next++;
  return rows_at(all, place);
}

void TokenRows::sum(const Tensor& counted) const {
  if (sharing_.size() > 1) sharing_.all_reduce(counted).wait();
}

std::vector<TokenRows::Run> TokenRows::runs(int64_t begin, int64_t end) const {
  if (context_ranks_ == 1) return {{begin, end, begin}};
  const int64_t chunk = split().chunk_length();
  std::vector<Run> runs;
  while (begin < end) {
    const int64_t next = std::min(end, (begin / chunk + 1) * chunk);
    const int64_t sequence = begin / local_length();
    runs.push_back(
        {begin, next,
         sequence * length_ + split().position(context_rank_, begin - sequence * local_length())});
    begin = next;
  }
  return runs;
}

}  // namespace orthant
