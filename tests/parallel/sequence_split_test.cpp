// SPDX-License-Identifier: Apache-2.0
#include "parallel/context/sequence_split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace orthant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SequenceSplit, RankHoldsAnEarlyAndALateChunk) {
  const SequenceSplit split(16, 4);
  EXPECT_EQ(split.local_length(), 4);
  EXPECT_EQ(split.chunk_length(), 2);
  EXPECT_THAT(split.rows_of(0, 1), ElementsAre(0, 1, 14, 15));
  EXPECT_THAT(split.rows_of(1, 1), ElementsAre(2, 3, 12, 13));
  EXPECT_THAT(split.rows_of(3, 2), ElementsAre(6, 7, 8, 9, 22, 23, 24, 25));
  EXPECT_EQ(split.position(2, 1), 5);
  EXPECT_EQ(split.position(2, 2), 10);
}

TEST(SequenceSplit, GroupOfOneHoldsTheSequence) {
  EXPECT_THAT(SequenceSplit(5, 1).rows_of(0, 1), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(SequenceSplit::why_not(5, 1), "");
}

TEST(SequenceSplit, EveryRowHasOneHolderAndRanksSeeAsManyKeys) {
  for (const int ranks : {1, 2, 3, 8}) {
    const SequenceSplit split(48, ranks);
    std::vector<int64_t> all;
    std::vector<int64_t> work;  // keys that a rank's tokens see
    for (int rank = 0; rank < ranks; ++rank) {
      const std::vector<int64_t> rows = split.rows_of(rank, 2);
      all.insert(all.end(), rows.begin(), rows.end());
      int64_t keys = 0;
      for (const int64_t row : rows) keys += row % 48 + 1;
      work.push_back(keys);
    }
    std::sort(all.begin(), all.end());
    ASSERT_EQ(all.size(), 96U);
    for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], static_cast<int64_t>(i));
    EXPECT_THAT(work, ::testing::Each(work[0]));
  }
}

TEST(SequenceSplit, SaysWhatFits) {
  EXPECT_EQ(SequenceSplit::why_not(48, 4), "");
  EXPECT_THAT(SequenceSplit::why_not(50, 4), HasSubstr("50 tokens do not give; 48 or 56 do"));
  EXPECT_THAT(SequenceSplit::why_not(5, 4), HasSubstr("8 do"));
}

}  // namespace
}  // namespace orthant
