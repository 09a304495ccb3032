// SPDX-License-Identifier: Apache-2.0
// Attention over sequences cut among ranks, the ring and Ulysses, against attention() on one rank.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "base/context.h"
#include "base/philox.h"
#include "parallel/comm/threads/run_ranks.h"
#include "parallel/context/ring_attention.h"
#include "parallel/context/sequence_split.h"
#include "parallel/context/ulysses_attention.h"

namespace orthant {
namespace {

struct Problem {
  std::string name;
  int64_t length = 0;
  AttentionShape shape;
  std::vector<int64_t> documents = {};  // lengths, of every second sequence; empty: one document
};

AttentionShape shape_of(int64_t batch, int64_t heads, int64_t kv_heads, int64_t window = 0) {
  return {.batch = batch,
          .heads = heads,
          .kv_heads = kv_heads,
          .qk_dim = 12,
          .v_dim = 8,
          .window = window,
          .scale = 0.4};
}

// With 4 ranks, chunks of 8 to 78 tokens; the last ones span several blocks of 64 keys.
std::vector<Problem> problems() {
  return {{"one sequence", 64, shape_of(1, 2, 1)},
          {"sequences", 64, shape_of(3, 8, 4)},
          {"a token a chunk", 8, shape_of(2, 4, 4)},
          {"long", 624, shape_of(1, 4, 4)},
          {"window of one", 64, shape_of(1, 4, 4, 1)},
          {"window of two", 64, shape_of(1, 4, 4, 2)},
          {"window below a chunk", 160, shape_of(2, 8, 4, 13)},
          {"window of a chunk", 160, shape_of(1, 4, 4, 20)},
          {"window of a chunk and a token", 160, shape_of(1, 4, 4, 21)},
          {"window of chunks", 160, shape_of(2, 4, 2, 50)},
          {"window above all", 160, shape_of(1, 4, 4, 200)},
          {"long, window", 624, shape_of(1, 2, 1, 100)},
          {"documents", 160, shape_of(2, 8, 4), {13, 1, 60, 86}},
          {"documents at borders", 160, shape_of(2, 4, 2), {20, 40, 20, 80}},
          {"documents, window", 160, shape_of(4, 4, 4, 30), {33, 1, 100, 26}},
          {"long documents", 624, shape_of(2, 4, 4), {300, 324}}};
}

// Values of row `row` of a whole batch, whoever holds it.
Tensor whole_rows(const std::vector<int64_t>& rows, int64_t width, DType dtype, const char* name) {
  const PhiloxKey key = make_key(3, RandomPurpose::kTest, name);
  std::vector<double> values;
  for (const int64_t row : rows)
    for (int64_t c = 0; c < width; ++c)
      values.push_back(philox_normal(key, 0, static_cast<uint64_t>(row * width + c)));
  return Tensor::from({static_cast<int64_t>(rows.size()), width}, values, dtype);
}

Tensor starts_of(const Problem& p, const std::vector<int64_t>& rows) {
  std::vector<int32_t> starts;
  for (const int64_t row : rows) {
    int64_t begin = 0;
    if (row / p.length % 2 == 0)
      for (const int64_t length : p.documents) {
        if (row % p.length < begin + length) break;
        begin += length;
      }
    starts.push_back(static_cast<int32_t>(begin));
  }
  return Tensor::from_i32({static_cast<int64_t>(starts.size())}, starts);
}

// Rows of o and of the gradient by qkv.
struct Result {
  Tensor o, dqkv;
};
using Attend = std::function<Var(const Var& qkv, const Tensor& doc_start)>;
Result run(const Problem& p, DType dtype, const std::vector<int64_t>& rows, const Tensor& doc_start,
           const Attend& attend) {
  const Var qkv = Var::leaf(whole_rows(rows, p.shape.v_end(), dtype, "qkv"));
  const Var o = attend(qkv, doc_start);
  backward(o, whole_rows(rows, p.shape.heads * p.shape.v_dim, dtype, "do"));
  return {o.value(), qkv.grad()};
}

Result run_whole(const Problem& p, DType dtype) {
  const std::vector<int64_t> rows = SequenceSplit(p.length, 1).rows_of(0, p.shape.batch);
  const Tensor starts = starts_of(p, rows);
  return run(p, dtype, rows, starts, [&](const Var& qkv, const Tensor& doc_start) {
    return attention(qkv, doc_start, p.shape);
  });
}

enum class Kind { kRing, kUlysses };

// What ranks compute, put together in the order of the whole batch.
Result run_split(const Problem& p, DType dtype, Kind kind, int ranks, int threads = 1) {
  const SequenceSplit split(p.length, ranks);
  const int64_t count = p.shape.batch * p.length;
  const Result whole{Tensor::empty({count, p.shape.heads * p.shape.v_dim}, dtype),
                     Tensor::empty({count, p.shape.v_end()}, dtype)};
  run_ranks(
      ranks,
      [&](const Group& group) {
        const std::vector<int64_t> rows = split.rows_of(group.rank(), p.shape.batch);
        const Tensor starts = starts_of(
            p, kind == Kind::kRing ? rows : SequenceSplit(p.length, 1).rows_of(0, p.shape.batch));
        const Result own =
            run(p, dtype, rows, starts, [&](const Var& qkv, const Tensor& doc_start) {
              return kind == Kind::kRing ? ring_attention(qkv, doc_start, p.shape, group)
                                         : ulysses_attention(qkv, doc_start, p.shape, group);
            });
        for (size_t i = 0; i < rows.size(); ++i) {
          const auto at = static_cast<int64_t>(i);
          copy(own.o.slice(at, at + 1), whole.o.slice(rows[i], rows[i] + 1));
          copy(own.dqkv.slice(at, at + 1), whole.dqkv.slice(rows[i], rows[i] + 1));
        }
      },
      {.threads_per_rank = threads});
  return whole;
}

double difference(const Tensor& got, const Tensor& want) {
  const std::vector<double> a = got.to_doubles(), b = want.to_doubles();
  EXPECT_EQ(a.size(), b.size());
  double worst = 0, largest = 1e-3;
  for (size_t i = 0; i < b.size(); ++i) {
    worst = std::isfinite(a[i]) ? std::max(worst, std::fabs(a[i] - b[i])) : INFINITY;
    largest = std::max(largest, std::fabs(b[i]));
  }
  return worst / largest;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() &&
         std::memcmp(a.data(), b.data(), static_cast<size_t>(a.bytes())) == 0;
}

double tolerance(DType dtype) {
  return dtype == DType::kF64 ? 1e-12 : dtype == DType::kF32 ? 1e-5 : 2e-2;
}

class ContextAttention : public ::testing::TestWithParam<std::tuple<int, DType>> {
 protected:
  int ranks() const { return std::get<0>(GetParam()); }
  DType dtype() const { return std::get<1>(GetParam()); }
};

TEST_P(ContextAttention, RingIsAttentionOfTheWhole) {
  for (const Problem& p : problems()) {
    const Result want = run_whole(p, dtype()), got = run_split(p, dtype(), Kind::kRing, ranks());
    EXPECT_LT(difference(got.o, want.o), tolerance(dtype())) << p.name;
    EXPECT_LT(difference(got.dqkv, want.dqkv), tolerance(dtype())) << p.name;
  }
}

TEST_P(ContextAttention, UlyssesHasTheBitsOfTheWhole) {
  for (const Problem& p : problems()) {
    if (!why_not_ulysses(p.shape.heads, p.shape.kv_heads, ranks()).empty()) continue;
    const Result want = run_whole(p, dtype());
    const Result got = run_split(p, dtype(), Kind::kUlysses, ranks());
    EXPECT_TRUE(same_bits(got.o, want.o)) << p.name;
    EXPECT_TRUE(same_bits(got.dqkv, want.dqkv)) << p.name;
  }
}

TEST_P(ContextAttention, RingHasTheSameBitsOnEveryRunAndForThreads) {
  for (const Problem& p : problems()) {
    if (p.length < 160) continue;
    const Result one = run_split(p, dtype(), Kind::kRing, ranks());
    for (const int threads : {1, 2, 3}) {
      const Result again = run_split(p, dtype(), Kind::kRing, ranks(), threads);
      EXPECT_TRUE(same_bits(one.o, again.o)) << p.name << ", " << threads << " threads";
      EXPECT_TRUE(same_bits(one.dqkv, again.dqkv)) << p.name << ", " << threads << " threads";
    }
    if (ranks() == 1) {
      EXPECT_TRUE(same_bits(one.dqkv, run_whole(p, dtype()).dqkv)) << p.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, ContextAttention,
                         ::testing::Combine(::testing::Values(1, 2, 4),
                                            ::testing::Values(DType::kF64, DType::kF32,
                                                              DType::kBF16)),
                         [](const auto& info) {
                           return std::to_string(std::get<0>(info.param)) + "_" +
                                  std::string(name_of(std::get<1>(info.param)));
                         });

// Only the gradient by qkv needs what forward kept: this rank's qkv, o and lse.
TEST(RingAttention, KeepsNoKeysOfOtherRanks) {
  const Problem p{"", 256, shape_of(1, 4, 4)};
  run_ranks(4, [&](const Group& group) {
    const std::vector<int64_t> rows = SequenceSplit(p.length, 4).rows_of(group.rank(), 1);
    const Var qkv = Var::leaf(whole_rows(rows, p.shape.v_end(), DType::kF32, "qkv"));
    const Tensor starts = starts_of(p, rows);
    const auto held = [] { return context().ledger->total_bytes(); };
    const int64_t before = held();
    const Var o = ring_attention(qkv, starts, p.shape, group);
    group.barrier();  // a message of the last step is let go of when its receiver has it
    const int64_t lse_bytes = 64 * 4 * 4, rounding = 4096;
    EXPECT_LE(held() - before, o.value().bytes() + lse_bytes + rounding);
    backward(o, Tensor::zeros(o.value().shape(), DType::kF32));
  });
}

TEST(UlyssesAttention, SaysWhichHeadsFit) {
  EXPECT_EQ(why_not_ulysses(8, 4, 4), "");
  EXPECT_NE(why_not_ulysses(8, 2, 4).find("8 query heads and 2 KV heads"), std::string::npos);
  EXPECT_NE(why_not_ulysses(6, 4, 4), "");
}

}  // namespace
}  // namespace orthant
