// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

#include "base/checksum.h"
#include "base/context.h"
#include "base/error.h"
#include "base/parallel_for.h"
#include "base/philox.h"

namespace orthant {
namespace {

// Known answers of Philox4x32-10, from the authors' Random123 distribution (kat_vectors).
TEST(PhiloxTest, GivesTheKnownAnswers) {
  const Philox4 zeros = philox({0, 0}, 0, 0);
  EXPECT_EQ(zeros.x[0], 0x6627e8d5u);
  EXPECT_EQ(zeros.x[1], 0xe169c58du);
  EXPECT_EQ(zeros.x[2], 0xbc57ac4cu);
  EXPECT_EQ(zeros.x[3], 0x9b00dbd8u);
  const Philox4 ones = philox({0xffffffffu, 0xffffffffu}, ~uint64_t{0}, ~uint64_t{0});
  EXPECT_EQ(ones.x[0], 0x408f276du);
}

TEST(PhiloxTest, KeysDifferByPurposeNameAndSeed) {
  std::set<uint64_t> keys;
  for (uint64_t seed : {1, 2}) {
    for (RandomPurpose purpose : {RandomPurpose::kInit, RandomPurpose::kDropout}) {
      for (const char* name : {"a", "b"}) {
        const PhiloxKey key = make_key(seed, purpose, name);
        keys.insert(static_cast<uint64_t>(key.k1) << 32 | key.k0);
      }
    }
  }
  EXPECT_EQ(keys.size(), 8u);
}

TEST(PhiloxTest, NormalNumbersHaveMeanZeroAndVarianceOne) {
  const PhiloxKey key = make_key(1, RandomPurpose::kTest, "normal");
  double sum = 0, squares = 0;
  constexpr int kCount = 100000;
  for (uint64_t i = 0; i < kCount; ++i) {
    const double x = philox_normal(key, 0, i);
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.02);
  EXPECT_NEAR(squares / kCount, 1, 0.02);
}

TEST(TextTest, DoublesReadBack) {
  EXPECT_EQ(concat(0.1), "0.1");
  EXPECT_EQ(concat(1e300, " ", -3, " ", true, " ", 'c', " ", size_t{7}), "1e+300 -3 true c 7");
  EXPECT_EQ(human_bytes(1536), "1.50 KiB");
}

TEST(TextTest, NearestNameFindsTypingErrorsOnly) {
  EXPECT_EQ(nearest_name("learing_rate", {"learning_rate", "eps"}), "learning_rate");
  EXPECT_EQ(nearest_name("zzz", {"learning_rate", "weight_decay"}), "");
  EXPECT_EQ(nearest_name("fp16", {"fp64", "fp32", "bf16"}), "bf16");
  EXPECT_EQ(nearest_name("fp8", {"fp64", "fp32"}), "");
  EXPECT_EQ(nearest_name("bf61", {"fp64", "bf16"}), "bf16");
}

TEST(TextTest, InvalidUtf8IsReplaced) {
  EXPECT_EQ(valid_utf8("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z"),
            "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z");
  EXPECT_EQ(valid_utf8("\x8C"
                       "a\xC3"),
            "\xEF\xBF\xBD"
            "a\xEF\xBF\xBD");
  EXPECT_EQ(valid_utf8("\xED\xA0\x80").size(), 9u) << "a surrogate";
}

TEST(ErrorTest, KindIsTheExitCode) {
  try {
    ORTHANT_CHECK(1 + 1 == 3, kData, "file ", "x", ": want ", 3);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 65);
    EXPECT_STREQ(error.what(), "file x: want 3");
  }
}

TEST(LedgerTest, KeepsPeaksByCategory) {
  Ledger ledger;
  ledger.add(MemoryCategory::kCache, 100);
  ledger.add(MemoryCategory::kOptimizer, 50);
  ledger.add(MemoryCategory::kCache, -100);
  EXPECT_EQ(ledger.bytes(MemoryCategory::kCache), 0);
  EXPECT_EQ(ledger.peak_bytes(MemoryCategory::kCache), 100);
  EXPECT_EQ(ledger.peak_bytes(), 150);
  EXPECT_EQ(ledger.total_bytes(), 50);
}

TEST(LedgerTest, KeepsWhatWasHeldAtThePeak) {
  Ledger ledger;
  ledger.add(MemoryCategory::kParameters, 10);
  ledger.add(MemoryCategory::kActivations, 100);
  ledger.add(MemoryCategory::kActivations, -90);
  ledger.add(MemoryCategory::kWorkspace, 80);
  ledger.add(MemoryCategory::kCommunication, 5);
  MemoryPeaks peaks = ledger.peaks();
  EXPECT_EQ(peaks.total(), 110);
  EXPECT_EQ(peaks.at_peak[MemoryCategory::kWorkspace], 0);
  EXPECT_EQ(peaks.each[MemoryCategory::kWorkspace], 80);
  EXPECT_EQ(peaks.step_bytes, 100);
  EXPECT_EQ(peaks.block_bytes, 100);
  ledger.reset_peaks();
  EXPECT_EQ(ledger.peaks().total(), 105);
  EXPECT_EQ(ledger.peaks().each[MemoryCategory::kActivations], 10);
  peaks.merge(ledger.peaks());
  EXPECT_EQ(peaks.each[MemoryCategory::kCommunication], 5);
  EXPECT_EQ(peaks.total(), 110);
}

TEST(ContextTest, BelongsToTheThreadThatInstalledIt) {
  RankContext mine{.rank = 3};
  const ContextScope scope(mine);
  EXPECT_EQ(context().rank, 3);
  std::thread([] { EXPECT_EQ(context().rank, 0); }).join();
}

TEST(ParallelForTest, CoversEveryIndexOnce) {
  RankContext mine{.num_threads = 3};
  const ContextScope scope(mine);
  for (int64_t n : {0, 1, 7, 64, 1000}) {
    std::vector<int> hits(static_cast<size_t>(n), 0), each(hits);
    parallel_for(n, 16, [&](int64_t begin, int64_t end) {
      EXPECT_EQ(begin % 16, 0);
      for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
    });
    parallel_for_each(n, [&](int64_t i) { ++each[static_cast<size_t>(i)]; });
    EXPECT_EQ(hits, std::vector<int>(static_cast<size_t>(n), 1));
    EXPECT_EQ(each, hits);
  }
}

TEST(FailpointTest, ActsAtItsSiteRankAndStepOnly) {
  RankContext mine{.rank = 1, .failpoint = "step.norm:rank=1:step=3:nan"};
  const ContextScope scope(mine);
  EXPECT_TRUE(failpoint("step.norm", 3));
  EXPECT_FALSE(failpoint("step.norm", 2));
  EXPECT_FALSE(failpoint("step.forward", 3));
  mine.rank = 0;
  EXPECT_FALSE(failpoint("step.norm", 3));
}

TEST(ChecksumTest, PiecesEqualTheWhole) {
  const std::string text = "orthant orthant orthant";
  Checksum pieces;
  pieces.update(text.data(), 5);
  pieces.update(text.data() + 5, text.size() - 5);
  EXPECT_EQ(pieces.hex(), xxh3_128_hex(text.data(), text.size()));
}

}  // namespace
}  // namespace orthant
