// SPDX-License-Identifier: Apache-2.0
// Attention against a plain reference in double; the invariances that packing, decoding and threads
// rest on; its gradient against finite differences.
#include "tests/tensor/cpu_testing.h"

namespace orthant::testing {
namespace {

struct Problem {
  int64_t batch, length, heads, kv_heads, qk, vd;
  std::vector<int32_t> starts = {};  // doc_start of one sequence; empty: one document
  int64_t window = 0;
};

class CpuAttention : public CpuKernels {
 protected:
  // q, k and v are column slices of one buffer, as the model has them.
  struct Run {
    Problem p;
    Array qkv, o, lse, starts, do_, dqkv;
    AttentionArgs args{};
  };

  Run make(const Problem& p, uint64_t seed = 1) {
    Run run{p};
    const int64_t rows = p.batch * p.length, width = p.heads * p.qk + p.kv_heads * (p.qk + p.vd);
    run.qkv = Array(model(), rows, width, 5).random(seed, -1.5, 1.5);
    run.o = Array(model(), rows, p.heads * p.vd, 3);
    run.lse = Array(wide(), rows, p.heads, 1);
    run.do_ = Array(model(), rows, p.heads * p.vd, 2).random(seed + 1);
    run.dqkv = Array(model(), rows, width, 1);
    run.starts = Array(DType::kI32, 1, rows);
    for (int64_t r = 0; r < rows && !p.starts.empty(); ++r)
      run.starts.set(0, r, p.starts[static_cast<size_t>(r % p.length)]);
    return run;
  }
  // Views point into the run, so they are taken once it stays where it is.
  static AttentionArgs args_of(const Run& run) {
    const Problem& p = run.p;
    const int64_t k_first = p.heads * p.qk, v_first = k_first + p.kv_heads * p.qk;
    return {run.qkv.columns(0, k_first),
            run.qkv.columns(k_first, p.kv_heads * p.qk),
            run.qkv.columns(v_first, p.kv_heads * p.vd),
            run.o.view(),
            run.lse.view(),
            p.starts.empty() ? View{} : run.starts.view1(),
            p.batch,
            p.length,
            p.length,
            0,
            p.length,
            p.length,
            0,
            p.heads,
            p.kv_heads,
            p.qk,
            p.vd,
            p.window,
            1 / std::sqrt(static_cast<double>(p.qk)),
            0};
  }
  void forward(Run* run) {
    run->args = args_of(*run);
    ok(table_.attention(&call_, &run->args));
  }
  void backward(Run* run) {
    const Problem& p = run->p;
    const int64_t k_first = p.heads * p.qk, v_first = k_first + p.kv_heads * p.qk;
    const AttentionGradArgs grad{args_of(*run), run->do_.view(), run->dqkv.columns(0, k_first),
                                 run->dqkv.columns(k_first, p.kv_heads * p.qk),
                                 run->dqkv.columns(v_first, p.kv_heads * p.vd)};
    ok(table_.attention_grad(&call_, &grad));
  }
  // The first key that row i sees.
  static int64_t start_of(const Problem& p, int64_t i) {
    const int64_t start = p.starts.empty() ? 0 : p.starts[static_cast<size_t>(i)];
    return p.window > 0 ? std::max(start, i - p.window + 1) : start;
  }

  // Probabilities of one query row over keys [0, i], and the logsumexp.
  static std::vector<double> probabilities(const Run& run, int64_t b, int64_t h, int64_t i,
                                           double* lse) {
    const Problem& p = run.p;
    const int64_t kv = h / (p.heads / p.kv_heads), k_first = p.heads * p.qk + kv * p.qk;
    std::vector<double> result(static_cast<size_t>(i + 1), 0.0);
    double max = -INFINITY, sum = 0;
    for (int64_t j = start_of(p, i); j <= i; ++j) {
      double s = 0;
      for (int64_t c = 0; c < p.qk; ++c)
        s += run.qkv.get(b * p.length + i, h * p.qk + c) *
             run.qkv.get(b * p.length + j, k_first + c);
      result[static_cast<size_t>(j)] = s / std::sqrt(static_cast<double>(p.qk));
      max = std::fmax(max, result[static_cast<size_t>(j)]);
    }
    for (int64_t j = start_of(p, i); j <= i; ++j)
      sum += result[static_cast<size_t>(j)] = std::exp(result[static_cast<size_t>(j)] - max);
    for (double& x : result) x /= sum;
    *lse = max + std::log(sum);
    return result;
  }

  void expect_forward_matches(const Run& run) {
    const Problem& p = run.p;
    for (int64_t b = 0; b < p.batch; ++b)
      for (int64_t h = 0; h < p.heads; ++h)
        for (int64_t i = 0; i < p.length; ++i) {
          double lse = 0;
          const std::vector<double> probs = probabilities(run, b, h, i, &lse);
          const int64_t v_first = (p.heads + p.kv_heads) * p.qk + h / (p.heads / p.kv_heads) * p.vd;
          ASSERT_NEAR(run.lse.get(b * p.length + i, h), lse,
                      tolerance(wide()) * std::fmax(2, std::fabs(lse)))
              << i;
          for (int64_t c = 0; c < p.vd; ++c) {
            double want = 0;
            for (int64_t j = start_of(p, i); j <= i; ++j)
              want += probs[static_cast<size_t>(j)] * run.qkv.get(b * p.length + j, v_first + c);
            ASSERT_NEAR(run.o.get(b * p.length + i, h * p.vd + c), want, close())
                << "b " << b << " h " << h << " i " << i << " c " << c;
          }
        }
    EXPECT_TRUE(run.o.padding_is_untouched());
    EXPECT_TRUE(run.lse.padding_is_untouched());
  }

  void expect_backward_matches(const Run& run) {
    const Problem& p = run.p;
    const int64_t rows = p.batch * p.length;
    Array want(DType::kF64, rows, run.qkv.cols());
    for (int64_t b = 0; b < p.batch; ++b)
      for (int64_t h = 0; h < p.heads; ++h)
        for (int64_t i = 0; i < p.length; ++i) {
          double lse = 0, delta = 0;
          const std::vector<double> probs = probabilities(run, b, h, i, &lse);
          const int64_t kv = h / (p.heads / p.kv_heads), row = b * p.length + i;
          const int64_t k_first = (p.heads + kv) * p.qk;
          const int64_t v_first = (p.heads + p.kv_heads) * p.qk + kv * p.vd;
          for (int64_t c = 0; c < p.vd; ++c)
            delta += run.do_.get(row, h * p.vd + c) * run.o.get(row, h * p.vd + c);
          for (int64_t j = start_of(p, i); j <= i; ++j) {
            const int64_t key_row = b * p.length + j;
            const double prob = probs[static_cast<size_t>(j)];
            double dprob = 0;
            for (int64_t c = 0; c < p.vd; ++c) {
              dprob += run.do_.get(row, h * p.vd + c) * run.qkv.get(key_row, v_first + c);
              want.set(key_row, v_first + c,
                       want.get(key_row, v_first + c) + prob * run.do_.get(row, h * p.vd + c));
            }
            const double ds = prob * (dprob - delta) / std::sqrt(static_cast<double>(p.qk));
            for (int64_t c = 0; c < p.qk; ++c) {
              want.set(row, h * p.qk + c,
                       want.get(row, h * p.qk + c) + ds * run.qkv.get(key_row, k_first + c));
              want.set(key_row, k_first + c,
                       want.get(key_row, k_first + c) + ds * run.qkv.get(row, h * p.qk + c));
            }
          }
        }
    expect_near(
        run.dqkv, [&](int64_t r, int64_t c) { return want.get(r, c); },
        model() == DType::kF64 ? 1e-12 : close() * 2, "dqkv");
  }
};

// A packed row of documents of the given lengths.
std::vector<int32_t> packed(std::initializer_list<int> lengths) {
  std::vector<int32_t> starts;
  for (const int length : lengths) {
    const int32_t start = static_cast<int32_t>(starts.size());
    starts.insert(starts.end(), static_cast<size_t>(length), start);
  }
  return starts;
}

std::vector<Problem> problems() {
  return {{1, 1, 1, 1, 8, 8},
          {2, 5, 2, 1, 7, 3},
          {1, 64, 2, 2, 16, 16},
          {2, 67, 4, 2, 64, 64},
          {1, 130, 6, 2, 40, 24},
          {1, 200, 2, 1, 80, 128},
          {2, 150, 4, 2, 24, 16, packed({1, 63, 2, 70, 14})},
          {1, 129, 3, 3, 33, 65, packed({128, 1})},
          {1, 5, 1, 1, 8, 8, {}, 1},
          {1, 70, 4, 2, 16, 8, {}, 2},
          {2, 200, 4, 2, 24, 16, {}, 17},
          {1, 64, 2, 2, 16, 16, {}, 64},
          {1, 200, 4, 1, 20, 36, {}, 65},
          {1, 130, 2, 1, 16, 16, {}, 300},
          {1, 600, 2, 1, 8, 8, {}, 100},
          {2, 150, 4, 2, 24, 16, packed({1, 63, 2, 70, 14}), 30},
          {1, 330, 2, 2, 16, 16, packed({128, 1, 201}), 90}};
}

TEST_P(CpuAttention, ForwardMatchesReference) {
  for (const Problem& p : problems()) {
    Run run = make(p);
    forward(&run);
    expect_forward_matches(run);
  }
}

TEST_P(CpuAttention, BackwardMatchesReference) {
  for (const Problem& p : problems()) {
    Run run = make(p);
    forward(&run);
    backward(&run);
    expect_backward_matches(run);
  }
}

class CpuAttentionF64 : public CpuAttention {};

TEST_P(CpuAttentionF64, GradientMatchesFiniteDifferences) {
  for (const Problem& p :
       {Problem{1, 9, 4, 2, 6, 5, packed({3, 6})}, Problem{1, 66, 1, 1, 2, 3},
        Problem{1, 9, 4, 2, 6, 5, packed({3, 6}), 4}, Problem{1, 70, 1, 1, 2, 3, {}, 5}}) {
    Run run = make(p);
    forward(&run);
    backward(&run);
    const Array gradient = run.dqkv;
    expect_gradient(
        &run.qkv, gradient,
        [&] {
          forward(&run);
          return inner(run.o, run.do_);
        },
        "dqkv");
  }
}

TEST_P(CpuAttention, ThreadsAndBatchChangeNoBit) {
  Run run = make({3, 100, 4, 2, 32, 16, packed({37, 63})});
  expect_same_for_threads([&] {
    forward(&run);
    backward(&run);
    std::vector<char> bytes = run.o.bytes();
    bytes.insert(bytes.end(), run.lse.bytes().begin(), run.lse.bytes().end());
    bytes.insert(bytes.end(), run.dqkv.bytes().begin(), run.dqkv.bytes().end());
    return bytes;
  });
  // The last sequence alone.
  Run alone = make({1, 100, 4, 2, 32, 16, packed({37, 63})});
  for (int64_t r = 0; r < 100; ++r) {
    for (int64_t c = 0; c < run.qkv.cols(); ++c) alone.qkv.set(r, c, run.qkv.get(200 + r, c));
    for (int64_t c = 0; c < run.o.cols(); ++c) alone.do_.set(r, c, run.do_.get(200 + r, c));
  }
  forward(&alone);
  backward(&alone);
  for (int64_t r = 0; r < 100; ++r) {
    ASSERT_EQ(alone.o.row_bytes(r, 0, alone.o.cols()), run.o.row_bytes(200 + r, 0, run.o.cols()));
    ASSERT_EQ(alone.lse.row_bytes(r, 0, 4), run.lse.row_bytes(200 + r, 0, 4));
    ASSERT_EQ(alone.dqkv.row_bytes(r, 0, alone.dqkv.cols()),
              run.dqkv.row_bytes(200 + r, 0, run.dqkv.cols()));
  }
}

TEST_P(CpuAttention, DocumentHasTheSameBitsWhereverItStands) {
  for (const auto& [before, window] :
       {std::pair{1, 0}, {3, 0}, {64, 0}, {77, 0}, {3, 50}, {64, 5}, {77, 130}}) {
    const int length = 141;
    Run alone = make({1, length, 4, 2, 20, 36, {}, window});
    Run inside =
        make({1, before + length + 5, 4, 2, 20, 36, packed({before, length, 5}), window}, 9);
    for (int64_t r = 0; r < length; ++r) {
      for (int64_t c = 0; c < alone.qkv.cols(); ++c)
        inside.qkv.set(before + r, c, alone.qkv.get(r, c));
      for (int64_t c = 0; c < alone.o.cols(); ++c)
        inside.do_.set(before + r, c, alone.do_.get(r, c));
    }
    for (Run* run : {&alone, &inside}) {
      forward(run);
      backward(run);
    }
    for (int64_t r = 0; r < length; ++r) {
      ASSERT_EQ(alone.o.row_bytes(r, 0, alone.o.cols()),
                inside.o.row_bytes(before + r, 0, inside.o.cols()))
          << "row " << r << " behind " << before;
      ASSERT_EQ(alone.lse.row_bytes(r, 0, 4), inside.lse.row_bytes(before + r, 0, 4));
      ASSERT_EQ(alone.dqkv.row_bytes(r, 0, alone.dqkv.cols()),
                inside.dqkv.row_bytes(before + r, 0, inside.dqkv.cols()));
    }
  }
}

TEST_P(CpuAttention, DecodingFromACacheHasTheBitsOfTheWholeSequence) {
  for (const int64_t window : {0, 37}) {
    Run whole = make({2, 140, 4, 2, 20, 36, {}, window});
    forward(&whole);
    const int64_t capacity = 150, qw = 80, kw = 40, vw = 72;
    Array k(model(), 2 * capacity, kw), v(model(), 2 * capacity, vw);
    k.constant(NAN), v.constant(NAN);  // what lies beyond the last key must not matter
    for (const int64_t chunk : {1, 3, 70}) {
      for (int64_t first = 0; first < 140; first += chunk) {
        const int64_t rows = std::min<int64_t>(chunk, 140 - first);
        Array q(model(), 2 * rows, qw), o(model(), 2 * rows, vw * 2);
        for (int64_t b = 0; b < 2; ++b)
          for (int64_t r = 0; r < rows; ++r) {
            const int64_t from = b * 140 + first + r, at = b * capacity + first + r;
            for (int64_t c = 0; c < qw; ++c) q.set(b * rows + r, c, whole.qkv.get(from, c));
            for (int64_t c = 0; c < kw; ++c) k.set(at, c, whole.qkv.get(from, qw + c));
            for (int64_t c = 0; c < vw; ++c) v.set(at, c, whole.qkv.get(from, qw + kw + c));
          }
        AttentionArgs args = args_of(whole);
        args.q = q.view(), args.k = k.view(), args.v = v.view(), args.o = o.view(), args.lse = {};
        args.q_len = args.q_stride = rows, args.q_offset = first;
        args.kv_len = first + rows, args.kv_stride = capacity;
        ok(table_.attention(&call_, &args));
        for (int64_t b = 0; b < 2; ++b)
          for (int64_t r = 0; r < rows; ++r)
            ASSERT_EQ(o.row_bytes(b * rows + r, 0, o.cols()),
                      whole.o.row_bytes(b * 140 + first + r, 0, o.cols()))
                << "row " << first + r << " in chunks of " << chunk << ", window " << window;
      }
    }
  }
}

TEST_P(CpuAttention, LaterKeysAndOtherDocumentsCannotReachARow) {
  for (const int64_t window : {0, 1, 2, 33})
    for (int64_t poisoned = 0; poisoned < 140; poisoned += 23) {
      Run run = make({1, 140, 2, 1, 16, 16, packed({30, 110}), window});
      forward(&run);
      const Array before = run.o;
      Run other = make({1, 140, 2, 1, 16, 16, packed({30, 110}), window});
      for (int64_t c = 0; c < other.qkv.cols(); ++c) other.qkv.set(poisoned, c, NAN);
      forward(&other);
      for (int64_t r = 0; r < 140; ++r) {
        const bool sees =
            r >= poisoned && (poisoned >= 30 || r < 30) && (window == 0 || r < poisoned + window);
        if (sees) {
          ASSERT_TRUE(std::isnan(other.o.get(r, 0))) << r;
        } else {
          ASSERT_EQ(other.o.row_bytes(r, 0, 32), before.row_bytes(r, 0, 32))
              << r << " " << poisoned;
        }
      }
    }
}

// Queries and keys in chunks of unequal lengths: sums over chunks of keys, in any order, are the
// whole, and pairs that see nothing change nothing.
TEST_P(CpuAttention, ChunksAddUpToTheWhole) {
  const std::vector<int64_t> borders = {0, 30, 101, 133, 200};
  for (const Problem& p : {Problem{2, 200, 4, 2, 20, 36}, Problem{1, 200, 2, 1, 16, 8, {}, 40},
                           Problem{2, 200, 2, 2, 8, 8, packed({20, 1, 99, 80})},
                           Problem{1, 200, 4, 1, 24, 16, packed({90, 110}), 25}}) {
    Run whole = make(p);
    forward(&whole);
    backward(&whole);
    const int64_t rows = p.batch * p.length, qw = p.heads * p.qk, ow = p.heads * p.vd;
    const int64_t kw = p.kv_heads * p.qk, vw = p.kv_heads * p.vd;
    Array o(wide(), rows, ow, 1), lse(wide(), rows, p.heads);
    Array dqkv(wide(), rows, qw + kw + vw, 2);
    lse.constant(-INFINITY);
    const auto rows_from = [](View view, int64_t row) {
      view.data = static_cast<char*>(view.data) + row * view.row_stride * size_of(view.dtype);
      return view;
    };
    // Of queries chunk i over keys chunk j.
    const auto args_of_pair = [&](size_t i, size_t j) {
      AttentionArgs args = args_of(whole);
      args.q_offset = borders[i], args.q_len = borders[i + 1] - borders[i];
      args.kv_offset = borders[j], args.kv_len = borders[j + 1] - borders[j];
      args.q = rows_from(args.q, args.q_offset), args.lse = rows_from(lse.view(), args.q_offset);
      args.k = rows_from(args.k, args.kv_offset), args.v = rows_from(args.v, args.kv_offset);
      if (args.doc_start.data)
        args.doc_start.data = static_cast<int32_t*>(args.doc_start.data) + args.q_offset;
      return args;
    };
    const auto each_pair = [&](const std::function<void(size_t, size_t)>& f) {
      for (size_t i = 0; i + 1 < borders.size(); ++i)
        for (const size_t j : {2, 0, 3, 1}) f(i, j);
    };
    each_pair([&](size_t i, size_t j) {
      AttentionArgs args = args_of_pair(i, j);
      args.o = rows_from(o.view(), args.q_offset);
      args.accumulate = 1;
      ok(table_.attention(&call_, &args));
    });
    each_pair([&](size_t i, size_t j) {
      AttentionGradArgs args{.forward = args_of_pair(i, j), .accumulate = 1};
      const int64_t first = args.forward.q_offset, first_key = args.forward.kv_offset;
      args.forward.o = rows_from(whole.o.view(), first);
      args.do_ = rows_from(whole.do_.view(), first);
      args.dq = rows_from(dqkv.columns(0, qw), first);
      args.dk = rows_from(dqkv.columns(qw, kw), first_key);
      args.dv = rows_from(dqkv.columns(qw + kw, vw), first_key);
      ok(table_.attention_grad(&call_, &args));
    });
    const auto near_whole = [&](const Array& got, const Array& want, const char* what) {
      expect_near(
          got, [&](int64_t r, int64_t c) { return want.get(r, c); },
          model() == DType::kF64 ? 1e-12 : 2 * close(), what);
    };
    near_whole(o, whole.o, "o");
    near_whole(lse, whole.lse, "lse");
    near_whole(dqkv, whole.dqkv, "dqkv");
  }
}

TEST_P(CpuAttention, LargeScoresDoNotOverflow) {
  Run run = make({1, 80, 1, 1, 8, 8});
  for (int64_t r = 0; r < 80; ++r)
    for (int64_t c = 0; c < 16; ++c) run.qkv.set(r, c, static_cast<double>(r % 5 - 2) * 32);
  forward(&run);
  expect_forward_matches(run);
}

INSTANTIATE_TEST_SUITE_P(Levels, CpuAttentionF64, ::testing::ValuesIn(kernel_cases({DType::kF64})),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Levels, CpuAttention, ::testing::ValuesIn(kernel_cases()), case_name);

}  // namespace
}  // namespace orthant::testing
