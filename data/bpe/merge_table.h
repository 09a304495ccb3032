// SPDX-License-Identifier: Apache-2.0
// Which two neighbouring tokens join into which, and in what order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace orthant {

class MergeTable {
 public:
  static constexpr uint32_t kNoRank = UINT32_MAX;
  struct Merge {
    uint32_t rank = kNoRank;  // lower ones go first; kNoRank: the two never join
    int32_t token = -1;
  };

  explicit MergeTable(size_t count) {
    size_t size = 16;
    while (size < 2 * count) size *= 2;
    slots_.resize(size);
    for (size_t bits = size; bits > 1; bits /= 2) --shift_;
  }
  // The later one of two for the same pair holds.
  void add(int32_t left, int32_t right, Merge merge) {
    Slot& slot = slots_[place_of(key_of(left, right))];
    slot = {key_of(left, right), merge};
  }
  Merge find(int32_t left, int32_t right) const {
    return slots_[place_of(key_of(left, right))].merge;
  }

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  // Of the key, or of the empty slot that it would take.
  size_t place_of(uint64_t key) const {
    size_t at = static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> shift_);
    while (slots_[at].key != key && slots_[at].key != kEmpty) at = (at + 1) & (slots_.size() - 1);
    return at;
  }

  std::vector<Slot> slots_;  // a power of two of them, at most half of them full
  int shift_ = 64;
};

}  // namespace orthant
