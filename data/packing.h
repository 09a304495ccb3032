// SPDX-License-Identifier: Apache-2.0
// Which examples share a row.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace orthant {

// Rows of items, each item in one row.
struct PackedRows {
  std::vector<int64_t> items;
  std::vector<int64_t> begins{0};  // [rows + 1] in items
  int64_t size() const { return static_cast<int64_t>(begins.size()) - 1; }
  std::span<const int64_t> row(int64_t i) const {
    const auto begin = static_cast<size_t>(begins[static_cast<size_t>(i)]);
    return std::span(items).subspan(
        begin, static_cast<size_t>(begins[static_cast<size_t>(i) + 1]) - begin);
  }
};

// Items in the order that they are given, with their lengths in [1, capacity].  A row begins with
// the first item that has none; then the longest of the next `window` items that fits, of equals
// the first, joins it, until none fits.  So every item waits at most until it is the first, and a
// row takes from its neighbourhood only.  n log window steps.
PackedRows pack_rows(std::span<const int64_t> lengths, int64_t capacity, int64_t window = 1024);

// A row for each item.
PackedRows single_rows(int64_t items);

}  // namespace orthant
