// SPDX-License-Identifier: Apache-2.0
#include "parallel/buckets.h"

#include <map>
#include <set>
#include <tuple>

#include "base/error.h"

namespace orthant {
namespace {

// Members start where vector loads like them, in any dtype.
constexpr int64_t kAlignElems = 64;

std::vector<int64_t> bounds_of(const Bucket& bucket) {
  std::vector<ElementRange> tensors;
  for (const Bucket::Member& member : bucket.members) {
    for (const LogicalTensor& logical : member.use->parameter().table())
      tensors.push_back(Bucket::range_of(member, logical));
  }
  // An empty tensor stands before the one that begins where it does: the last one ends last.
  std::sort(tensors.begin(), tensors.end(), [](const ElementRange& a, const ElementRange& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  return slice_bounds(tensors, bucket.group.size());
}

int64_t aligned(int64_t numel) { return (numel + kAlignElems - 1) / kAlignElems * kAlignElems; }

void add_member(Bucket& bucket, size_t index, ParameterUse& use) {
  const int64_t offset = aligned(bucket.numel);
  bucket.members.push_back({index, &use, offset});
  bucket.numel = offset + use.parameter().numel();
}

// Elements of a parameter, the same on all tensor-parallel ranks, whose shares may differ or be
// empty: by these buckets are cut, so that all ranks have as many and issue them in one order.
int64_t even_numel(const Parameter& parameter, int64_t tensor_ranks) {
  int64_t numel = 0;
  for (const LogicalTensor& logical : parameter.table()) numel += logical.global_shape.numel();
  return parameter.replicas() == Replicas::kDense ? numel / tensor_ranks : numel;
}

}  // namespace

std::vector<int64_t> slice_bounds(std::span<const ElementRange> tensors, int ranks) {
  const int64_t total = tensors.empty() ? 0 : tensors.back().end;
  std::vector<int64_t> bounds = {0};
  size_t at = 0;  // the last tensor that starts at or before the even share
  for (int r = 1; r < ranks && total > 0; ++r) {
    const int64_t wanted = total / ranks * r + total % ranks * r / ranks;
    while (at + 1 < tensors.size() && tensors[at + 1].begin <= wanted) ++at;
    const ElementRange& tensor = tensors[at];
    const int64_t inside = std::min(wanted, tensor.end - 1) - tensor.begin;
    const int64_t below = tensor.begin + inside / kNormBlock * kNormBlock;
    const int64_t next = at + 1 < tensors.size() ? tensors[at + 1].begin : total;
    const int64_t above = below + kNormBlock < tensor.end ? below + kNormBlock : next;
    bounds.push_back(wanted - below <= above - wanted ? below : above);
  }
  bounds.resize(static_cast<size_t>(ranks) + 1, total);
  return bounds;
}

std::vector<int64_t> Bucket::slice_sizes() const {
  std::vector<int64_t> sizes;
  for (size_t r = 0; r + 1 < bounds.size(); ++r) sizes.push_back(bounds[r + 1] - bounds[r]);
  return sizes;
}

const Group& ReplicaGroups::of(Replicas replicas) const {
  switch (replicas) {
    case Replicas::kDense:
    case Replicas::kAlike:
      return dense;
    case Replicas::kRows:
      return rows;
    case Replicas::kKeyValue:
      return key_value;
    case Replicas::kExpert:
      return expert;
    case Replicas::kExpertRows:
      return expert_rows;
  }
  throw_error(ErrorKind::kInternal, "replicas of no kind");
}

std::vector<Bucket> plan_buckets(const ParameterStore& store, const ReplicaGroups& groups,
                                 int64_t bucket_bytes) {
  std::set<const Parameter*> tied;
  for (const auto& use : store.uses()) {
    if (use->is_tie() || use->parameter().tied() != Tied::kNo) tied.insert(&use->parameter());
  }
  std::vector<Bucket> buckets;
  std::map<std::tuple<const GroupImpl*, bool, DType>, size_t>
      open;                   // the bucket that parameters of a kind go into
  std::vector<int64_t> even;  // by bucket: its elements, the same on all tensor-parallel ranks
  const int64_t tensor_ranks =
      groups.rows.impl() ? std::max(1, groups.rows.size() / groups.dense.size()) : 1;
  for (size_t i = store.uses().size(); i-- > 0;) {
    ParameterUse& use = *store.uses()[i];
    const Parameter& parameter = use.parameter();
    if (!parameter.trainable()) continue;
    const bool alone = tied.contains(&parameter);
    const Group& group = groups.of(parameter.replicas());
    // What several tensor-parallel ranks hold they must cut alike, whatever else they hold.
    const std::tuple kind(group.impl().get(), parameter.replicas() == Replicas::kAlike,
                          parameter.dtype());
    const auto found = alone ? open.end() : open.find(kind);
    const size_t at = found == open.end() ? buckets.size() : found->second;
    if (at == buckets.size()) {
      buckets.push_back({.group = group, .dtype = parameter.dtype()});
      even.push_back(0);
    }
    add_member(buckets[at], i, use);
    even[at] = aligned(even[at]) + even_numel(parameter, tensor_ranks);
    if (alone) continue;
    open[kind] = at;
    if (even[at] * size_of(wide_of(buckets[at].dtype)) >= bucket_bytes) open.erase(kind);
  }
  std::sort(buckets.begin(), buckets.end(), [](const Bucket& a, const Bucket& b) {
    return a.members.back().index > b.members.back().index;
  });
  for (Bucket& bucket : buckets) bucket.bounds = bounds_of(bucket);
  return buckets;
}

}  // namespace orthant
