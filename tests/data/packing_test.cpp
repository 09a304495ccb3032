// SPDX-License-Identifier: Apache-2.0
#include "data/packing.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "tests/data/files.h"

namespace orthant {
namespace {

std::vector<std::vector<int64_t>> rows_of(const PackedRows& rows) {
  std::vector<std::vector<int64_t>> all;
  for (int64_t i = 0; i < rows.size(); ++i)
    all.emplace_back(rows.row(i).begin(), rows.row(i).end());
  return all;
}

TEST(Packing, TakesTheLongestThatFits) {
  const std::vector<int64_t> lengths = {5, 3, 4, 5, 1, 5, 2};
  EXPECT_EQ(rows_of(pack_rows(lengths, 10)),
            (std::vector<std::vector<int64_t>>{{0, 3}, {1, 5, 6}, {2, 4}}));
}

TEST(Packing, LooksNoFurtherThanItsWindow) {
  const std::vector<int64_t> lengths = {6, 7, 7, 4};
  EXPECT_EQ(rows_of(pack_rows(lengths, 10, 4)),
            (std::vector<std::vector<int64_t>>{{0, 3}, {1}, {2}}));
  EXPECT_EQ(rows_of(pack_rows(lengths, 10, 2)),
            (std::vector<std::vector<int64_t>>{{0}, {1}, {2}, {3}}));
}

TEST(Packing, PlacesEveryItemOnceAndFillsRows) {
  std::mt19937 random(7);
  std::vector<int64_t> lengths(5000);
  for (int64_t& length : lengths)
    length = std::clamp<int64_t>(
        static_cast<int64_t>(std::lognormal_distribution<double>(5, 1)(random)), 1, 1024);
  const PackedRows rows = pack_rows(lengths, 1024);
  std::vector<int64_t> seen = rows.items;
  std::sort(seen.begin(), seen.end());
  for (size_t i = 0; i < seen.size(); ++i) ASSERT_EQ(seen[i], static_cast<int64_t>(i));
  ASSERT_EQ(seen.size(), lengths.size());
  for (int64_t i = 0; i < rows.size(); ++i) {
    int64_t sum = 0;
    for (const int64_t item : rows.row(i)) sum += lengths[static_cast<size_t>(item)];
    EXPECT_LE(sum, 1024);
    // A row begins with the first item that was left.
    const std::span<const int64_t> row = rows.row(i);
    EXPECT_EQ(row.front(), *std::min_element(row.begin(), row.end()));
  }
  const auto total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  EXPECT_GT(static_cast<double>(total) / static_cast<double>(rows.size() * 1024), 0.97);
}

TEST(Packing, RefusesWhatDoesNotFit) {
  const std::vector<int64_t> lengths = {3, 11};
  expect_error(ErrorKind::kInternal, {"item 1", "11"}, [&] { pack_rows(lengths, 10); });
  EXPECT_EQ(pack_rows({}, 10).size(), 0);
}

}  // namespace
}  // namespace orthant
