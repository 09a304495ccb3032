// SPDX-License-Identifier: Apache-2.0
// The bodies of the CUDA kernels, run on the host (cuda_serial.h), against the CPU backend: what of
// the CUDA kernels can be proved without a GPU.  Every case runs with lanes and rows in both
// orders, which must give the same bits.
#include "tensor/cpu/drop_tokens.h"
#include "tests/tensor/cpu_testing.h"
#include "tests/tensor/cuda_serial.h"

namespace orthant::testing {
namespace {

using Arrays = std::vector<Array>;
using Compute = std::function<Arrays(const Backend&, const BackendCall*)>;

class CudaBodies : public ::testing::TestWithParam<DType> {
 protected:
  CudaBodies() : scope_(rank_), serial_(serial_backend()) {
    cpu::isa_scalar::fill_kernels(cpu_);
    cpu_.drop_tokens = cpu::drop_tokens;
    call_.error = error_;
    call_.error_size = sizeof(error_);
  }
  ~CudaBodies() override { serial_reverse = false; }
  DType model() const { return GetParam(); }
  DType wide() const { return wide_of(model()); }

  // The outputs of `run` with both backends, `factor` times the usual tolerance apart.
  void compare(const char* what, const Compute& run, double factor = 1) {
    const Arrays want = run(cpu_, &call_);
    serial_reverse = false;
    const Arrays got = run(serial_, &call_);
    serial_reverse = true;
    const Arrays reversed = run(serial_, &call_);
    serial_reverse = false;
    ASSERT_EQ(got.size(), want.size());
    for (size_t k = 0; k < want.size(); ++k) {
      const std::string name = std::string(what) + " output " + std::to_string(k);
      expect_near(
          got[k], [&](int64_t r, int64_t c) { return want[k].get(r, c); },
          factor * tolerance(got[k].dtype() == DType::kBF16 ? model() : wide()), name);
      EXPECT_TRUE(got[k].bytes() == reversed[k].bytes()) << name << " depends on the order";
    }
  }
  // Both backends refuse, with the same words after the name of the op.
  void expect_refused(const std::function<int(const Backend&, const BackendCall*)>& run) {
    EXPECT_NE(run(cpu_, &call_), 0);
    const std::string want = error_;
    error_[0] = 0;
    EXPECT_NE(run(serial_, &call_), 0);
    EXPECT_EQ(want, error_);
  }
  void ok(int status) const { ASSERT_EQ(status, 0) << error_; }

  RankContext rank_;
  ContextScope scope_;
  Backend cpu_{}, serial_{};
  char error_[256] = "";
  BackendCall call_;
};

TEST_P(CudaBodies, Elementwise) {
  for (const int64_t pad : {0, 3}) {
    const Array a = Array(model(), 9, 37, pad).random(1), b = Array(model(), 9, 37, 0).random(2);
    compare("add", [&](const Backend& t, const BackendCall* call) {
      Array y(model(), 9, 37, 2 * pad);
      const BinaryArgs args{a.view(), b.view(), y.view()};
      ok(t.add(call, &args));
      return Arrays{y};
    });
    compare("add in place", [&](const Backend& t, const BackendCall* call) {
      Array y = a;
      const BinaryArgs args{y.view(), b.view(), y.view()};
      ok(t.add(call, &args));
      return Arrays{y};
    });
    compare("scale", [&](const Backend& t, const BackendCall* call) {
      Array y(model(), 9, 37, pad);
      const ScaleArgs args{a.view(), y.view(), -1.7};
      ok(t.scale(call, &args));
      return Arrays{y};
    });
    for (const DType to : {DType::kF64, DType::kF32, DType::kBF16})
      for (const int accumulate : {0, 1})
        compare("cast", [&](const Backend& t, const BackendCall* call) {
          Array y = Array(to, 9, 37, pad).random(3);
          const CastArgs args{a.view(), y.view(), accumulate};
          ok(t.cast(call, &args));
          if (&t == &serial_) {  // one rounding: the same bits
            Array w = Array(to, 9, 37, pad).random(3);
            const CastArgs again{a.view(), w.view(), accumulate};
            ok(cpu_.cast(call, &again));
            EXPECT_TRUE(w.bytes() == y.bytes());
          }
          return Arrays{};
        });
    for (const DType to : {model(), DType::kI64, DType::kI32, DType::kI8, DType::kU8})
      compare("fill", [&](const Backend& t, const BackendCall* call) {
        Array y(to, 4, 5, pad);
        const FillArgs args{y.view(), 3.3};
        ok(t.fill(call, &args));
        return Arrays{y};
      });
  }
}

TEST_P(CudaBodies, DropoutKeepsTheSameElements) {
  for (const double p : {0.0, 0.1, 0.9})
    for (const uint64_t first : {uint64_t{0}, uint64_t{5}, (uint64_t{1} << 35) + 3})
      for (const int64_t pad : {0, 1}) {
        const Array x = Array(model(), 7, 29, pad).random(1, 1, 2);
        compare("dropout", [&](const Backend& t, const BackendCall* call) {
          Array y(model(), 7, 29, 2 * pad);
          const DropoutArgs args{x.view(), y.view(), 12, 34, (uint64_t{1} << 33) + 5, first, p};
          ok(t.dropout(call, &args));
          return Arrays{y};
        });
      }
  for (const double p : {1.0, -0.1, 1 - 0x1p-40})
    expect_refused([&](const Backend& t, const BackendCall* call) {
      Array x(model(), 1, 1);
      const DropoutArgs args{x.view(), x.view(), 1, 2, 3, 4, p};
      return t.dropout(call, &args);
    });
}

TEST_P(CudaBodies, EmbeddingAndGather) {
  const int64_t num_rows = 150, vocab = 11, width = 45;
  const Array table = Array(model(), vocab, width, 2).random(1);
  const Array dout = Array(model(), num_rows, width, 3).random(2);
  Array ids(DType::kI32, 1, num_rows);
  for (int64_t n = 0; n < num_rows; ++n)
    ids.set(0, n, n % 7 == 3 ? -1 : static_cast<double>(n * n % (vocab - 1)));
  compare("embedding", [&](const Backend& t, const BackendCall* call) {
    Array out = Array(model(), num_rows, width, 1).constant(9);
    const EmbeddingArgs args{table.view(), ids.view1(), out.view()};
    ok(t.embedding(call, &args));
    return Arrays{out};
  });
  compare("gather_rows", [&](const Backend& t, const BackendCall* call) {
    Array out = Array(model(), num_rows, width, 1).constant(9);
    const GatherRowsArgs args{table.view(), ids.view1(), out.view()};
    ok(t.gather_rows(call, &args));
    return Arrays{out};
  });
  compare("embedding_grad", [&](const Backend& t, const BackendCall* call) {
    Array dtable = Array(wide(), vocab, width, 1).random(3);
    const EmbeddingGradArgs args{ids.view1(), dout.view(), dtable.view()};
    ok(t.embedding_grad(call, &args));
    if (&t == &serial_) {  // rows are added in order of N: the same bits
      Array want = Array(wide(), vocab, width, 1).random(3);
      const EmbeddingGradArgs again{ids.view1(), dout.view(), want.view()};
      ok(cpu_.embedding_grad(call, &again));
      EXPECT_TRUE(want.bytes() == dtable.bytes());
    }
    return Arrays{dtable};
  });
  ids.set(0, 20, static_cast<double>(vocab));
  expect_refused([&](const Backend& t, const BackendCall* call) {
    Array out(model(), num_rows, width);
    const EmbeddingArgs args{table.view(), ids.view1(), out.view()};
    return t.embedding(call, &args);
  });
  expect_refused([&](const Backend& t, const BackendCall* call) {
    Array dtable(wide(), vocab, width);
    const EmbeddingGradArgs args{ids.view1(), dout.view(), dtable.view()};
    return t.embedding_grad(call, &args);
  });
}

TEST_P(CudaBodies, RmsNorm) {
  for (const auto& [n, d] : {std::pair{1, 1}, {3, 31}, {64, 40}, {130, 100}}) {
    const Array x = Array(model(), n, d, 2).random(1, -2, 2),
                dy = Array(model(), n, d, 1).random(2);
    const Array weight = Array(wide(), 1, d).random(3);
    for (const bool wants_rstd : {true, false})
      compare("rms_norm", [&](const Backend& t, const BackendCall* call) {
        Array y(model(), n, d, 3), rstd(wide(), 1, n);
        const RmsNormArgs args{x.view(), weight.view1(), y.view(),
                               wants_rstd ? rstd.view1() : View{}, 1e-5};
        ok(t.rms_norm(call, &args));
        return Arrays{y, rstd};
      });
    Array rstd(wide(), 1, n);
    rstd.random(4, 0.5, 1.5);
    for (const int accumulate : {0, 1})
      for (const bool wants_dweight : {true, false})
        compare(
            "rms_norm_grad",
            [&](const Backend& t, const BackendCall* call) {
              Array dx(model(), n, d, 3), dweight = Array(wide(), 1, d).random(5);
              const RmsNormGradArgs args{x.view(),     weight.view1(),
                                         rstd.view1(), dy.view(),
                                         dx.view(),    wants_dweight ? dweight.view1() : View{},
                                         accumulate};
              ok(t.rms_norm_grad(call, &args));
              return Arrays{dx, dweight};
            },
            3);
  }
}

TEST_P(CudaBodies, Rotary) {
  const int64_t n = 13, heads = 3, width = 10, rest = 7, positions = 20;
  const Array x = Array(model(), n, heads * width + rest, 2).random(1);
  Array cos(wide(), positions, width / 2, 1), sin(wide(), positions, width / 2, 1);
  cos.random(2), sin.random(3);
  Array at(DType::kI32, 1, n);
  for (int64_t r = 0; r < n; ++r) at.set(0, r, static_cast<double>(r * 7 % positions));
  for (const int inverse : {0, 1})
    for (const bool in_place : {false, true})
      compare("rotary", [&](const Backend& t, const BackendCall* call) {
        Array source = x, y(model(), n, heads * width + rest, 3);
        Array& out = in_place ? source : y;
        const RotaryArgs args{source.view(), out.view(), at.view1(), cos.view(),
                              sin.view(),    heads,      width,      inverse};
        ok(t.rotary(call, &args));
        return Arrays{out};
      });
}

TEST_P(CudaBodies, SwigluAndSoftmax) {
  for (const int64_t width : {1, 31, 32, 33, 130}) {
    const int64_t n = 6;
    const Array x = Array(model(), n, 2 * width, 3).random(1, -6, 6);
    const Array dy = Array(model(), n, width, 1).random(2);
    compare("swiglu", [&](const Backend& t, const BackendCall* call) {
      Array y(model(), n, width, 2);
      const SwigluArgs args{x.view(), y.view()};
      ok(t.swiglu(call, &args));
      return Arrays{y};
    });
    compare("swiglu_grad", [&](const Backend& t, const BackendCall* call) {
      Array dx(model(), n, 2 * width, 1);
      const SwigluGradArgs args{x.view(), dy.view(), dx.view()};
      ok(t.swiglu_grad(call, &args));
      return Arrays{dx};
    });
    for (const bool in_place : {false, true})
      compare("softmax", [&](const Backend& t, const BackendCall* call) {
        Array source = x, y(model(), n, 2 * width, 1);
        Array& out = in_place ? source : y;
        const SoftmaxArgs args{source.view(), out.view()};
        ok(t.softmax(call, &args));
        return Arrays{out};
      });
    compare("softmax_grad", [&](const Backend& t, const BackendCall* call) {
      Array y = Array(model(), n, width, 2).random(3, 0, 0.1), dx(model(), n, width, 4);
      const SoftmaxGradArgs args{y.view(), dy.view(), dx.view()};
      ok(t.softmax_grad(call, &args));
      return Arrays{dx};
    });
  }
}

TEST_P(CudaBodies, CrossEntropy) {
  for (const int64_t vocab : {1, 33, 1000, 9000}) {
    const int64_t n = 7;
    const Array logits = Array(wide(), n, vocab, 2).random(1, -8, 8);
    Array labels(DType::kI32, 1, n);
    for (int64_t r = 0; r < n; ++r)
      labels.set(0, r, r == 2 ? -100 : static_cast<double>(r * 997 % vocab));
    for (const bool wants_gradient : {true, false})
      compare("cross_entropy", [&](const Backend& t, const BackendCall* call) {
        Array losses(DType::kF64, 1, n), dlogits = Array(model(), n, vocab, 1).constant(5);
        const CrossEntropyArgs args{logits.view(), labels.view1(), losses.view1(),
                                    wants_gradient ? dlogits.view() : View{}};
        ok(t.cross_entropy(call, &args));
        return Arrays{losses, dlogits};
      });
    labels.set(0, 3, static_cast<double>(vocab));
    expect_refused([&](const Backend& t, const BackendCall* call) {
      Array losses(DType::kF64, 1, n);
      const CrossEntropyArgs args{logits.view(), labels.view1(), losses.view1(), View{}};
      return t.cross_entropy(call, &args);
    });
  }
}

struct Problem {
  int64_t batch, q_len, kv_stride, q_offset, heads, kv_heads, qk, vd;
  std::vector<int> documents = {};  // lengths; empty: one document
};

TEST_P(CudaBodies, Attention) {
  const std::vector<Problem> problems = {{1, 1, 1, 0, 1, 1, 8, 8},
                                         {2, 5, 5, 0, 2, 1, 7, 3},
                                         {1, 70, 70, 0, 6, 2, 40, 24},
                                         {1, 66, 66, 0, 2, 2, 24, 48},
                                         {2, 80, 80, 0, 4, 2, 9, 16, {1, 31, 2, 33, 13}},
                                         {2, 1, 90, 71, 4, 2, 16, 8},
                                         {2, 3, 50, 40, 2, 2, 16, 8}};
  for (const Problem& p : problems) {
    const int64_t rows = p.batch * p.q_len, keys = p.batch * p.kv_stride;
    const Array q = Array(model(), rows, p.heads * p.qk, 3).random(1, -1.5, 1.5);
    const Array k = Array(model(), keys, p.kv_heads * p.qk, 1).random(2, -1.5, 1.5);
    const Array v = Array(model(), keys, p.kv_heads * p.vd, 2).random(3, -1.5, 1.5);
    const Array dout = Array(model(), rows, p.heads * p.vd, 5).random(4);
    Array starts(DType::kI32, 1, rows);
    int64_t at = 0;
    for (const int length : p.documents) {
      for (int64_t i = at; i < at + length; ++i)
        for (int64_t b = 0; b < p.batch; ++b)
          starts.set(0, b * p.q_len + i, static_cast<double>(at));
      at += length;
    }
    const auto args_of = [&](const Array& o, const Array& lse, bool wants_lse) {
      return AttentionArgs{q.view(),
                           k.view(),
                           v.view(),
                           o.view(),
                           wants_lse ? lse.view() : View{},
                           p.documents.empty() ? View{} : starts.view1(),
                           p.batch,
                           p.q_len,
                           p.kv_stride,
                           p.q_offset,
                           p.heads,
                           p.kv_heads,
                           p.qk,
                           p.vd,
                           1 / std::sqrt(static_cast<double>(p.qk))};
    };
    for (const bool wants_lse : {true, false})
      compare(
          "attention",
          [&](const Backend& t, const BackendCall* call) {
            Array o(model(), rows, p.heads * p.vd, 2), lse(wide(), rows, p.heads, 1);
            const AttentionArgs args = args_of(o, lse, wants_lse);
            ok(t.attention(call, &args));
            return Arrays{o, lse};
          },
          2);
    if (p.q_offset > 0) continue;
    Array o(model(), rows, p.heads * p.vd, 2), lse(wide(), rows, p.heads, 1);
    const AttentionArgs forward = args_of(o, lse, true);
    ok(cpu_.attention(&call_, &forward));
    compare(
        "attention_grad",
        [&](const Backend& t, const BackendCall* call) {
          Array dq(model(), rows, p.heads * p.qk, 1), dk(model(), keys, p.kv_heads * p.qk, 2);
          Array dv(model(), keys, p.kv_heads * p.vd, 3);
          const AttentionGradArgs args{forward, dout.view(), dq.view(), dk.view(), dv.view()};
          ok(t.attention_grad(call, &args));
          return Arrays{dq, dk, dv};
        },
        4);
  }
}

TEST_P(CudaBodies, CombineAndItsGradient) {
  const int64_t n = 9, slots = 3, width = 45, routed = 20;
  const Array rows = Array(model(), routed, width, 1).random(1);
  const Array dy = Array(model(), n, width, 2).random(2);
  const Array weights = Array(wide(), n, slots, 1).random(3);
  Array row_of(DType::kI32, n, slots, 2);
  int next = 0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t a = 0; a < slots; ++a)
      row_of.set(i, a, (i + a) % 4 == 1 || next >= routed ? -1 : next++);
  for (const bool weighted : {true, false}) {
    const View weight = weighted ? weights.view() : View{};
    compare("combine", [&](const Backend& t, const BackendCall* call) {
      Array y(model(), n, width, 1);
      const CombineArgs args{rows.view(), row_of.view(), weight, y.view()};
      ok(t.combine(call, &args));
      return Arrays{y};
    });
    for (const int wanted : {1, 2, 3})
      compare(
          "combine_grad",
          [&](const Backend& t, const BackendCall* call) {
            Array drows(model(), routed, width, 2), dweights(wide(), n, slots, 2);
            const CombineGradArgs args{dy.view(),
                                       wanted & 2 ? rows.view() : View{},
                                       row_of.view(),
                                       weight,
                                       wanted & 1 ? drows.view() : View{},
                                       wanted & 2 ? dweights.view() : View{}};
            ok(t.combine_grad(call, &args));
            return Arrays{drows, dweights};
          },
          2);
  }
}

// Groups, scores and what else a router may be asked for.
struct RouterCase {
  int64_t experts, slots, groups = 1, top_groups = 1, group_best = 1;
  ScoreKind score = ScoreKind::kSoftmax;
  bool bias = false, plain = false;
};
const RouterCase kRouterCases[] = {{4, 2},
                                   {7, 7},
                                   {64, 6},
                                   {130, 8},
                                   {64, 6, 8, 3, 1, ScoreKind::kSoftmax, false, true},
                                   {130, 5, 13, 2, 2, ScoreKind::kSigmoid, true, true},
                                   {7, 3, 1, 1, 1, ScoreKind::kSigmoid, true, false}};

TEST_P(CudaBodies, Router) {
  for (const RouterCase& c : kRouterCases)
    for (const int normalize : {0, 1})
      for (const bool masked : {false, true}) {
        const int64_t n = 12, length = 6, e = c.experts, a = c.slots;
        Array logits = Array(wide(), n, e, 2).random(1, -3, 3);
        for (int64_t j = 1; j < e; j += 2) logits.set(3, j, logits.get(3, j - 1));  // ties
        for (int64_t j = 0; j < e; ++j) logits.set(5, j, 0.5);
        const Array bias = Array(wide(), 1, e).random(2, -0.2, 0.2);
        Array valid = Array(DType::kI32, 1, n).constant(1), replay(DType::kI32, n, a, 1);
        for (int64_t i = 0; i < n; i += 4) valid.set(0, i, 0);
        for (int64_t i = 0; i < n; ++i)
          for (int64_t s = 0; s < a; ++s)
            replay.set(i, s, i == 7 && s == 1 ? -1 : static_cast<double>((i + 4 * s) % e));
        const View validity = masked ? valid.view1() : View{};
        Arrays routed;  // of the last backend
        const auto route = [&](const Backend& t, const BackendCall* call, const View& replayed) {
          Array scores(wide(), n, e, 1), ids(DType::kI32, n, a, 1), weights(wide(), n, a, 3);
          Array counts(DType::kF64, n / length, e), sums(DType::kF64, n / length, e);
          Array lse(wide(), 1, n), totals(wide(), 1, n), chosen(wide(), n, a, 1);
          Array plain_ids(DType::kI32, n, a), plain(DType::kF64, n / length, e);
          Array groups(DType::kF64, n / length, c.groups);
          const RouterArgs args{.logits = logits.view(),
                                .valid = validity,
                                .bias = c.bias ? bias.view1() : View{},
                                .replay = replayed,
                                .scores = scores.view(),
                                .totals = totals.view1(),
                                .lse = lse.view1(),
                                .ids = ids.view(),
                                .weights = weights.view(),
                                .chosen_scores = c.plain ? chosen.view() : View{},
                                .plain_ids = c.plain ? plain_ids.view() : View{},
                                .counts = counts.view(),
                                .group_counts = groups.view(),
                                .plain_counts = c.plain ? plain.view() : View{},
                                .score_sums = sums.view(),
                                .score = c.score,
                                .sequence_length = length,
                                .num_groups = c.groups,
                                .top_groups = c.top_groups,
                                .group_best = c.group_best,
                                .normalize = normalize,
                                .scale = 2.5};
          const int status = t.router(call, &args);
          routed = Arrays{ids, scores, weights, counts, sums, lse, totals, groups};
          if (c.plain) routed.insert(routed.end(), {chosen, plain_ids, plain});
          return status;
        };
        for (const bool replayed : {false, true}) {
          compare(
              "router",
              [&](const Backend& t, const BackendCall* call) {
                ok(route(t, call, replayed ? replay.view() : View{}));
                return routed;
              },
              2);
          const Array dweights = Array(wide(), n, a, 1).random(7);
          const Array coef = Array(DType::kF64, n / length, e).random(8);
          for (const int given : {0, 1, 2, 7})
            compare(
                "router_grad",
                [&](const Backend& t, const BackendCall* call) {
                  Array dlogits = Array(wide(), n, e, 3).constant(4);
                  const RouterGradArgs args{.logits = logits.view(),
                                            .scores = routed[1].view(),
                                            .totals = routed[6].view1(),
                                            .valid = validity,
                                            .ids = routed[0].view(),
                                            .weights = routed[2].view(),
                                            .lse = given & 4 ? routed[5].view1() : View{},
                                            .dweights = given & 1 ? dweights.view() : View{},
                                            .score_coef = given & 2 ? coef.view() : View{},
                                            .dlogits = dlogits.view(),
                                            .score = c.score,
                                            .sequence_length = length,
                                            .normalize = normalize,
                                            .scale = 1.7,
                                            .z_coef = 0.3};
                  ok(t.router_grad(call, &args));
                  return Arrays{dlogits};
                },
                2);
        }
        replay.set(1, 1, static_cast<double>(e));
        expect_refused([&](const Backend& t, const BackendCall* call) {
          return route(t, call, replay.view());
        });
      }
}

TEST_P(CudaBodies, RouterGivesDistinctExpertsForNotANumber) {
  const int64_t n = 4, e = 9, a = 4;
  Array logits = Array(wide(), n, e).constant(NAN), scores(wide(), n, e), totals(wide(), 1, n);
  Array ids(DType::kI32, n, a), weights(wide(), n, a), groups(DType::kF64, 1, 3);
  Array counts(DType::kF64, 1, e), sums(DType::kF64, 1, e);
  for (const ScoreKind score : {ScoreKind::kSoftmax, ScoreKind::kSigmoid}) {
    const RouterArgs args{.logits = logits.view(),
                          .scores = scores.view(),
                          .totals = totals.view1(),
                          .ids = ids.view(),
                          .weights = weights.view(),
                          .counts = counts.view(),
                          .group_counts = groups.view(),
                          .score_sums = sums.view(),
                          .score = score,
                          .sequence_length = n,
                          .num_groups = 3,
                          .top_groups = 2,
                          .group_best = 1,
                          .normalize = 1,
                          .scale = 1};
    ok(serial_.router(&call_, &args));
    for (int64_t i = 0; i < n; ++i)
      for (int64_t s = 0; s < a; ++s) EXPECT_EQ(ids.get(i, s), static_cast<double>(s));
  }
}

TEST_P(CudaBodies, DropTokens) {
  const int64_t n = 40, length = 10, slots = 3, experts = 8;
  Array ids(DType::kI32, n, slots, 1), scores(wide(), n, slots, 2);
  Array valid = Array(DType::kI32, 1, n).constant(1);
  Array protected_rows = Array(DType::kI32, 1, n / length).constant(0);
  protected_rows.set(0, 2, 1);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t a = 0; a < slots; ++a) {
      ids.set(i, a, i % 7 == 3 ? -1 : static_cast<double>((i * i + 3 * a) % experts));
      scores.set(i, a, static_cast<double>((i * 5 + a) % 4) / 4);
      valid.set(0, i, i % 7 == 3 ? 0 : 1);
    }
  scores.set(1, 1, NAN);
  for (const int64_t groups : {1, 4})
    for (const double capacity : {1e-3, 0.5, 1.0, 20.0})
      compare(
          "drop_tokens",
          [&](const Backend& t, const BackendCall* call) {
            Array kept(DType::kI32, n, slots, 3), dropped(DType::kF64, 1, n / length);
            const DropTokensArgs args{.ids = ids.view(),
                                      .scores = scores.view(),
                                      .valid = valid.view1(),
                                      .protected_rows = protected_rows.view1(),
                                      .kept = kept.view(),
                                      .dropped = dropped.view1(),
                                      .sequence_length = length,
                                      .num_experts = experts,
                                      .num_groups = groups,
                                      .capacity_factor = capacity};
            ok(t.drop_tokens(call, &args));
            return Arrays{kept, dropped};
          },
          2);
  ids.set(0, 0, experts);
  expect_refused([&](const Backend& t, const BackendCall* call) {
    Array kept(DType::kI32, n, slots), dropped(DType::kF64, 1, n / length);
    const DropTokensArgs args{ids.view(),
                              scores.view(),
                              valid.view1(),
                              protected_rows.view1(),
                              kept.view(),
                              dropped.view1(),
                              length,
                              experts,
                              4,
                              1.0};
    return t.drop_tokens(call, &args);
  });
}

TEST_P(CudaBodies, DispatchPlan) {
  const int64_t n = 40, slots = 3, experts = 6;
  Array ids(DType::kI32, n, slots, 1);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t a = 0; a < slots; ++a)
      ids.set(i, a, i % 5 == 2 ? -1 : static_cast<double>((i * i + 2 * a) % (experts - 1)));
  const auto plan = [&](const Backend& t, const BackendCall* call, int64_t* offsets, Array* row_of,
                        Array* token_of) {
    const DispatchPlanArgs args{ids.view(), row_of->view(), token_of->view1(), experts, offsets};
    return t.dispatch_plan(call, &args);
  };
  compare("dispatch_plan", [&](const Backend& t, const BackendCall* call) {
    std::vector<int64_t> offsets(static_cast<size_t>(experts + 1), -1);
    Array row_of(DType::kI32, n, slots, 2), token_of(DType::kI32, 1, n * slots);
    ok(plan(t, call, offsets.data(), &row_of, &token_of));
    Array counts(DType::kI64, 1, experts + 1);
    for (int64_t e = 0; e <= experts; ++e)
      counts.set(0, e, static_cast<double>(offsets[static_cast<size_t>(e)]));
    return Arrays{row_of, token_of, counts};
  });
  ids.set(1, 1, static_cast<double>(experts));
  expect_refused([&](const Backend& t, const BackendCall* call) {
    std::vector<int64_t> offsets(static_cast<size_t>(experts + 1));
    Array row_of(DType::kI32, n, slots), token_of(DType::kI32, 1, n * slots);
    return plan(t, call, offsets.data(), &row_of, &token_of);
  });
}

TEST_P(CudaBodies, Optimizers) {
  const int64_t n = 4096 * 2 + 77;
  const Array grad = Array(wide(), 1, n).random(1), start = Array(wide(), 1, n).random(2);
  const Array m0 = Array(wide(), 1, n).random(3), v0 = Array(wide(), 1, n).random(4, 0, 1);
  const bool same = model() == wide();
  compare("adamw", [&](const Backend& t, const BackendCall* call) {
    Array param(model(), 1, n), master = start, m = m0, v = v0;
    const AdamwArgs args{same ? master.view1() : param.view1(),
                         master.view1(),
                         m.view1(),
                         v.view1(),
                         grad.view1(),
                         0.01,
                         0.9,
                         0.95,
                         1e-8,
                         0.1,
                         1 - 0.9 * 0.9,
                         1 - 0.95 * 0.95,
                         0.5};
    ok(t.adamw(call, &args));
    return Arrays{param, master, m, v};
  });
  compare("sgd", [&](const Backend& t, const BackendCall* call) {
    Array param(model(), 1, n), master = start;
    const SgdArgs args{
        same ? master.view1() : param.view1(), master.view1(), grad.view1(), 0.01, 0.1, 0.5};
    ok(t.sgd(call, &args));
    return Arrays{param, master};
  });
  for (const int64_t count : {int64_t{1}, int64_t{4096}, n}) {
    const Array x = Array(model(), 1, count).random(5);
    Array want(DType::kF64, 1, (count + 4095) / 4096), got = want;
    const SumSquaresArgs of_cpu{x.view1(), want.view1()}, of_bodies{x.view1(), got.view1()};
    ok(cpu_.sum_squares(&call_, &of_cpu));
    ok(serial_.sum_squares(&call_, &of_bodies));
    for (int64_t b = 0; b < want.cols(); ++b)
      EXPECT_NEAR(got.get(0, b), want.get(0, b), 1e-12 * want.get(0, b));
  }
}

TEST_P(CudaBodies, EmptyViewsAreLeftAlone) {
  Array nothing(model(), 0, 8), ids(DType::kI32, 1, 0), table(model(), 4, 8);
  const BinaryArgs binary{nothing.view(), nothing.view(), nothing.view()};
  ok(serial_.add(&call_, &binary));
  const EmbeddingArgs lookup{table.view(), ids.view1(), nothing.view()};
  ok(serial_.embedding(&call_, &lookup));
}

TEST_P(CudaBodies, OtherTypesAreRefusedByName) {
  Array x(DType::kI32, 2, 2);
  const BinaryArgs args{x.view(), x.view(), x.view()};
  EXPECT_NE(serial_.add(&call_, &args), 0);
  EXPECT_STREQ(error_, "add: the cuda backend does not compute in i32");
}

INSTANTIATE_TEST_SUITE_P(All, CudaBodies, ::testing::Values(DType::kF64, DType::kF32, DType::kBF16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace orthant::testing
