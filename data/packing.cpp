// SPDX-License-Identifier: Apache-2.0
#include "data/packing.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

#include "base/error.h"

namespace orthant {

PackedRows pack_rows(std::span<const int64_t> lengths, int64_t capacity, int64_t window) {
  const auto count = static_cast<int64_t>(lengths.size());
  // Those within reach, the shortest first, of equals the last first: (length, -item).
  std::set<std::pair<int64_t, int64_t>> within;
  std::vector<bool> is_placed(lengths.size());
  int64_t first = 0, next = 0;
  const auto reach = [&] {
    while (next < count && static_cast<int64_t>(within.size()) < window) {
      const int64_t length = lengths[static_cast<size_t>(next)];
      ORTHANT_CHECK(length > 0 && length <= capacity, kInternal, "pack_rows: item ", next, " has ",
                    length, ", want 1 to ", capacity);
      within.emplace(length, -next++);
    }
  };
  PackedRows rows;
  const auto place = [&](std::set<std::pair<int64_t, int64_t>>::iterator found) {
    const auto [length, item] = *found;
    within.erase(found);
    rows.items.push_back(-item);
    is_placed[static_cast<size_t>(-item)] = true;
    return length;
  };
  for (reach(); !within.empty(); reach()) {
    while (is_placed[static_cast<size_t>(first)]) ++first;
    int64_t left = capacity - place(within.find({lengths[static_cast<size_t>(first)], -first}));
    for (;;) {
      reach();
      const auto behind = within.upper_bound({left, std::numeric_limits<int64_t>::max()});
      if (behind == within.begin()) break;
      left -= place(std::prev(behind));
    }
    rows.begins.push_back(static_cast<int64_t>(rows.items.size()));
  }
  return rows;
}

PackedRows single_rows(int64_t items) {
  PackedRows rows;
  rows.items.resize(static_cast<size_t>(items));
  std::iota(rows.items.begin(), rows.items.end(), int64_t{0});
  rows.begins.resize(static_cast<size_t>(items) + 1);
  std::iota(rows.begins.begin(), rows.begins.end(), int64_t{0});
  return rows;
}

}  // namespace orthant
