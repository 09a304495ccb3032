// SPDX-License-Identifier: Apache-2.0
// What it costs to share a sequence: attention forward and backward of one sequence on one rank,
// and by the ring and Ulysses on ranks that are threads of this process, one processor each.
//   context_bench [ranks] [tokens]
// Wall time is of the slowest rank; processor time, which other programs disturb less, of all.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string>

#include "base/clock.h"
#include "base/philox.h"
#include "parallel/comm/threads/run_ranks.h"
#include "parallel/context/ring_attention.h"
#include "parallel/context/sequence_split.h"
#include "parallel/context/ulysses_attention.h"

namespace orthant {
namespace {

struct Seconds {
  double wall = 1e30, processor = 1e30;
};

double processor_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

using Attend = std::function<Var(const Var& qkv, const Group& group)>;

// The best of several rounds.
Seconds seconds_of(int ranks, int64_t rows, const AttentionShape& shape, const Attend& attend) {
  constexpr int kRounds = 7;
  Seconds best;
  run_ranks(ranks,
            [&](const Group& group) {
              const auto random = [&](int64_t width, uint64_t stream) {
                const PhiloxKey key = make_key(1, RandomPurpose::kTest, "context_bench");
                std::vector<double> values(static_cast<size_t>(rows * width));
                for (size_t i = 0; i < values.size(); ++i)
                  values[i] = philox_normal(key, stream, i);
                return Tensor::from({rows, width}, values, DType::kBF16);
              };
              const Tensor x = random(shape.v_end(), 0), dy = random(shape.heads * shape.v_dim, 1);
              for (int round = 0; round < kRounds; ++round) {
                group.barrier();
                const double begin = now_seconds(), processor = processor_seconds();
                group.barrier();
                backward(attend(Var::leaf(x), group), dy);
                group.barrier();
                if (group.rank() != 0) continue;
                best.wall = std::min(best.wall, now_seconds() - begin);
                best.processor = std::min(best.processor, processor_seconds() - processor);
              }
            },
            {.check_collectives = false});
  return best;
}

int run(int ranks, int64_t tokens) {
  if (const std::string why = SequenceSplit::why_not(tokens, ranks); !why.empty()) {
    std::fprintf(stderr, "%s\n", why.c_str());
    return 2;
  }
  const AttentionShape shape{.heads = 8, .kv_heads = 4, .qk_dim = 64, .v_dim = 64, .scale = 0.125};
  const std::vector<int32_t> zeros(static_cast<size_t>(tokens), 0);
  const Tensor whole = Tensor::from_i32({tokens}, zeros);
  const int64_t rows = tokens / ranks;
  const Seconds one = seconds_of(
      1, tokens, shape, [&](const Var& qkv, const Group&) { return attention(qkv, whole, shape); });
  const Seconds ring = seconds_of(ranks, rows, shape, [&](const Var& qkv, const Group& group) {
    return ring_attention(qkv, whole.slice(0, rows), shape, group);
  });
  const Seconds ulysses = seconds_of(ranks, rows, shape, [&](const Var& qkv, const Group& group) {
    return ulysses_attention(qkv, whole, shape, group);
  });
  std::printf("%lld tokens, 8 query and 4 KV heads of 64, bf16, forward and backward\n",
              static_cast<long long>(tokens));
  const auto print = [&](const std::string& name, const Seconds& s) {
    std::printf("%-18s %9.1f ms   %5.2f x   processors %9.1f ms   %5.2f x\n", name.c_str(),
                1e3 * s.wall, s.wall / one.wall, 1e3 * s.processor, s.processor / one.processor);
  };
  print("one rank", one);
  print("ring, " + std::to_string(ranks), ring);
  print("ulysses, " + std::to_string(ranks), ulysses);
  return 0;
}

}  // namespace
}  // namespace orthant

int main(int argc, char** argv) {
  return orthant::run(argc > 1 ? std::atoi(argv[1]) : 2, argc > 2 ? std::atoll(argv[2]) : 4096);
}
