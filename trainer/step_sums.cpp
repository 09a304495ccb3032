// SPDX-License-Identifier: Apache-2.0
#include "trainer/step_sums.h"

#include <algorithm>

#include "base/error.h"

namespace orthant {
namespace {

// Every rank's values, in the order of ranks: ranks hold contiguous blocks, so that is the global
// order.
std::vector<double> gather_in_order(const Group& group, const std::vector<double>& mine) {
  const int64_t count = std::ssize(mine);
  const Tensor all = Tensor::empty({count * group.size()}, DType::kF64);
  group.all_gather(Tensor::from({count}, mine, DType::kF64), all).wait();
  return all.to_doubles();
}

}  // namespace

StepShape agree_on_shape(const RankGroups& groups, const Objective& objective,
                         std::span<const MicroBatch> micro_batches, bool stop) {
  enum { kCount, kRouted, kTokens, kSequences, kMicroBatches, kNumbers };
  std::vector<double> own(kNumbers, 0.0);
  own[kMicroBatches] = static_cast<double>(micro_batches.size());
  for (const MicroBatch& batch : micro_batches) {
    own[kCount] += objective.count(batch);
    own[kRouted] += static_cast<double>(
        std::count_if(batch.ids.begin(), batch.ids.end(), [](int32_t id) { return id >= 0; }));
    own[kTokens] += static_cast<double>(batch.num_tokens());
    own[kSequences] += static_cast<double>(batch.sequences);
  }
  const std::vector<double> all = gather_in_order(groups.data, own);
  StepShape shape;
  double routed = 0, before = 0;
  for (int rank = 0; rank < groups.data.size(); ++rank) {
    const double* of_rank = all.data() + rank * kNumbers;
    ORTHANT_CHECK(of_rank[kMicroBatches] == all[kMicroBatches], kInternal,
                  "a step: want equally many micro-batches on every data-parallel rank, got ",
                  all[kMicroBatches], " on rank 0 and ", of_rank[kMicroBatches], " on rank ", rank);
    shape.count += of_rank[kCount];
    routed += of_rank[kRouted];
    if (rank < groups.data.rank()) before += of_rank[kTokens];
    shape.sequences.push_back(static_cast<int64_t>(of_rank[kSequences]));
  }
  shape.routed_tokens = static_cast<int64_t>(routed);
  shape.tokens_before = static_cast<int64_t>(before);
  shape.stop = groups.world.sum(stop ? 1.0 : 0.0) > 0;
  return shape;
}

void SequenceSums::add_rows(const Tensor& rows, int64_t local_length, int64_t first,
                            size_t number) {
  const std::vector<double> values = rows.to_doubles();
  for (size_t i = 0; i < values.size(); ++i)
    at(first + static_cast<int64_t>(i) / local_length, number) += values[i];
}

std::vector<double> SequenceSums::gather(const RankGroups& groups,
                                         const std::vector<int64_t>& sequences) const {
  std::vector<double> own = values_;
  if (groups.losses.size() > 1) own = groups.losses.sum(own);
  const size_t most = static_cast<size_t>(*std::max_element(sequences.begin(), sequences.end()));
  own.resize(most * stride_, 0.0);
  const std::vector<double> padded = gather_in_order(groups.data, own);
  std::vector<double> all;
  for (size_t rank = 0; rank < sequences.size(); ++rank) {
    const auto begin = padded.begin() + static_cast<std::ptrdiff_t>(rank * most * stride_);
    all.insert(all.end(), begin,
               begin + static_cast<std::ptrdiff_t>(static_cast<size_t>(sequences[rank]) * stride_));
  }
  return all;
}

}  // namespace orthant
