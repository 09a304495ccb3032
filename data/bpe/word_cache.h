// SPDX-License-Identifier: Apache-2.0
// Short words and their ids, as they were encoded lately: text is mostly words that were there
// before.
//
// A table of fixed size (4 MiB); a word takes the place of the one that had it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace orthant {

class WordCache {
 public:
  static constexpr size_t kMostBytes = 24, kMostIds = 8;

  // A word's key; only words of 1 to kMostBytes bytes have one.
  struct Key {
    std::array<uint64_t, 3> bytes{};  // zeros behind the word
    uint32_t size = 0;
    size_t place = 0;
  };
  static bool is_short(std::string_view word) { return !word.empty() && word.size() <= kMostBytes; }
  static Key key_of(std::string_view word) {
    Key key{.size = static_cast<uint32_t>(word.size())};
    std::memcpy(key.bytes.data(), word.data(), word.size());
    uint64_t hash = key.size;
    for (const uint64_t part : key.bytes) {
      hash = (hash ^ part) * 0x9E3779B97F4A7C15u;
      hash ^= hash >> 32;
    }
    key.place = static_cast<size_t>(hash * 0x9E3779B97F4A7C15u >> (64 - kBits));
    return key;
  }

  // False where the word is not there.
  bool find(const Key& key, std::vector<int32_t>& ids) const {
    const Entry& entry = entries_[key.place];
    if (entry.size != key.size || entry.bytes != key.bytes) return false;
    ids.insert(ids.end(), entry.ids.begin(), entry.ids.begin() + entry.num_ids);
    return true;
  }
  void put(const Key& key, std::span<const int32_t> ids) {
    if (ids.size() > kMostIds) return;
    Entry& entry = entries_[key.place];
    entry.bytes = key.bytes;
    entry.size = static_cast<uint16_t>(key.size);
    entry.num_ids = static_cast<uint16_t>(ids.size());
    std::copy(ids.begin(), ids.end(), entry.ids.begin());
  }

 private:
  static constexpr int kBits = 16;
  struct alignas(64) Entry {
    std::array<uint64_t, 3> bytes{};
    uint16_t size = 0, num_ids = 0;
    std::array<int32_t, kMostIds> ids{};
  };
  static_assert(sizeof(Entry) == 64);
  std::vector<Entry> entries_ = std::vector<Entry>(size_t{1} << kBits);
};

}  // namespace orthant
