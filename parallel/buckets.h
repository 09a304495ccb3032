// SPDX-License-Identifier: Apache-2.0
// How the gradients of parameters share flat buckets, and which rank owns which part of a bucket.
//
// A bucket's flat space holds whole parameters, one after the other: one for each use that has a
// gradient.  It is what ranks reduce and
// gather at once, and what ZeRO cuts: every rank of the bucket's group owns one slice of it.  Pure
// arithmetic: the same on every rank of a group.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "parallel/comm/group.h"
#include "parallel/parameter_store.h"

namespace orthant {

// Blocks that the gradient norm adds up (ops::sum_squares): slices never cut one.
inline constexpr int64_t kNormBlock = 4096;

struct ElementRange {
  int64_t begin = 0, end = 0;

  int64_t size() const { return end - begin; }
  bool empty() const { return end <= begin; }
  ElementRange shifted(int64_t by) const { return {begin + by, end + by}; }
  bool operator==(const ElementRange&) const = default;
};
// Empty, and somewhere within a, where they do not meet.
inline ElementRange intersection(const ElementRange& a, const ElementRange& b) {
  const int64_t begin = std::clamp(b.begin, a.begin, a.end);
  return {begin, std::clamp(b.end, begin, a.end)};
}

// Where a flat space is cut into one slice a rank: ranks + 1 ascending positions from 0 to the end
// of the last tensor.  `tensors` are ascending and disjoint, the first starts at 0.  A cut stands
// at the start of a tensor or a multiple of kNormBlock elements behind it, whichever is nearest to
// an even share, so slices differ from that by at most kNormBlock elements; with fewer pieces than
// ranks some are empty.
std::vector<int64_t> slice_bounds(std::span<const ElementRange> tensors, int ranks);

// By Parameter::replicas.  Without tensor parallelism, rows and key_value are `dense`; without
// expert-tensor parallelism, expert_rows is `expert`.
struct ReplicaGroups {
  Group dense, expert;
  Group rows = {}, key_value = {},
        expert_rows = {};  // undefined where no parameter is of that kind
  const Group& of(Replicas replicas) const;
};

struct Bucket {
  struct Member {
    size_t index = 0;  // among the store's uses
    ParameterUse* use = nullptr;
    int64_t offset = 0;  // of its first element
  };

  Group group;                // that holds the same parameters
  DType dtype = DType::kF32;  // of the values; gradients are in wide_of(dtype)
  int64_t numel = 0;
  std::vector<Member> members;  // by descending index, ascending offset
  std::vector<int64_t> bounds;  // slice_bounds of the logical tensors

  ElementRange slice(int rank) const {
    return {bounds[static_cast<size_t>(rank)], bounds[static_cast<size_t>(rank) + 1]};
  }
  ElementRange own_slice() const { return slice(group.rank()); }
  std::vector<int64_t> slice_sizes() const;
  // A logical tensor of a member, in the flat space.
  static ElementRange range_of(const Member& member, const LogicalTensor& logical) {
    return ElementRange{0, logical.shape.numel()}.shifted(member.offset + logical.offset);
  }
};

// Every use of a trainable parameter of the store in one bucket.  Buckets come in the order in
// which backward completes them, the reverse of the order in which forward first needs them. Lookup
// and head of a tied pair have a bucket each, also on two stages, cut alike: who owns a slice of
// one owns it of the other.
std::vector<Bucket> plan_buckets(const ParameterStore& store, const ReplicaGroups& groups,
                                 int64_t bucket_bytes);

}  // namespace orthant
