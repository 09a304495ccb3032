// SPDX-License-Identifier: Apache-2.0
// Row-wise and elementwise kernels against plain references in double.
#include "tests/tensor/cpu_testing.h"

namespace orthant::testing {
namespace {

constexpr int64_t kWidths[] = {1, 7, 16, 33, 100, 257};

TEST_P(CpuKernels, RmsNormMatchesReference) {
  for (const int64_t d : kWidths) {
    Array x(model(), 5, d, 3), y(model(), 5, d, 1), weight(wide(), 1, d), rstd(wide(), 1, 5);
    x.random(1, -2, 2), weight.random(2, 0.5, 1.5);
    const RmsNormArgs args{x.view(), weight.view1(), y.view(), rstd.view1(), 1e-5};
    ok(table_.rms_norm(&call_, &args));
    const auto scale_of = [&](int64_t r) {
      double squares = 0;
      for (int64_t c = 0; c < d; ++c) squares += x.get(r, c) * x.get(r, c);
      return 1 / std::sqrt(squares / static_cast<double>(d) + 1e-5);
    };
    expect_near(
        rstd, [&](int64_t, int64_t r) { return scale_of(r); }, tolerance(wide()), "rstd");
    expect_near(
        y, [&](int64_t r, int64_t c) { return x.get(r, c) * scale_of(r) * weight.get(0, c); },
        close(), "y");
  }
}

TEST_P(CpuKernels, RmsNormGradMatchesReferenceAndAccumulates) {
  for (const int64_t d : kWidths) {
    const int64_t n = 150;  // more than two blocks of rows
    Array x(model(), n, d, 3), y(model(), n, d), weight(wide(), 1, d), rstd(wide(), 1, n);
    Array dy(model(), n, d, 2), dx(model(), n, d, 1), dweight(wide(), 1, d);
    x.random(1, -2, 2), weight.random(2, 0.5, 1.5), dy.random(3), dweight.constant(7);
    const RmsNormArgs forward{x.view(), weight.view1(), y.view(), rstd.view1(), 1e-5};
    ok(table_.rms_norm(&call_, &forward));
    RmsNormGradArgs args{
        x.view(), weight.view1(), rstd.view1(), dy.view(), dx.view(), dweight.view1(), 1};
    ok(table_.rms_norm_grad(&call_, &args));
    std::vector<double> sums(static_cast<size_t>(d), 7.0);
    for (int64_t r = 0; r < n; ++r) {
      const double s = rstd.get(0, r);
      double dot = 0;
      for (int64_t c = 0; c < d; ++c) {
        dot += x.get(r, c) * weight.get(0, c) * dy.get(r, c);
        sums[static_cast<size_t>(c)] += dy.get(r, c) * x.get(r, c) * s;
      }
      for (int64_t c = 0; c < d; ++c) {
        const double want = s * weight.get(0, c) * dy.get(r, c) -
                            x.get(r, c) * s * s * s * dot / static_cast<double>(d);
        ASSERT_NEAR(dx.get(r, c), want, close() * std::fmax(3, std::fabs(want)));
      }
    }
    expect_near(
        dweight, [&](int64_t, int64_t c) { return sums[static_cast<size_t>(c)]; },
        10 * tolerance(wide()), "dweight");
    args.accumulate = 0;
    const Array accumulated = dweight;
    ok(table_.rms_norm_grad(&call_, &args));
    expect_near(
        dweight, [&](int64_t, int64_t c) { return accumulated.get(0, c) - 7; },
        10 * tolerance(wide()), "dweight, not accumulated");
  }
}

class CpuKernelsF64 : public CpuKernels {};

TEST_P(CpuKernelsF64, RmsNormGradMatchesFiniteDifferences) {
  Array x(model(), 3, 19), y(model(), 3, 19), weight(wide(), 1, 19), rstd(wide(), 1, 3);
  Array dy(model(), 3, 19), dx(model(), 3, 19), dweight(wide(), 1, 19);
  x.random(1), weight.random(2, 0.5, 1.5), dy.random(3);
  const RmsNormArgs forward{x.view(), weight.view1(), y.view(), rstd.view1(), 1e-5};
  const auto objective = [&] {
    ok(table_.rms_norm(&call_, &forward));
    return inner(y, dy);
  };
  objective();
  const RmsNormGradArgs args{
      x.view(), weight.view1(), rstd.view1(), dy.view(), dx.view(), dweight.view1(), 0};
  ok(table_.rms_norm_grad(&call_, &args));
  expect_gradient(&x, dx, objective, "dx");
  expect_gradient(&weight, dweight, objective, "dweight");
}

TEST_P(CpuKernels, SwigluMatchesReferenceAtAllMagnitudes) {
  for (const int64_t f : kWidths) {
    Array x(model(), 4, 2 * f, 5), y(model(), 4, f, 1), dy(model(), 4, f), dx(model(), 4, 2 * f, 2);
    x.random(1, -3, 3), dy.random(2);
    x.set(0, 0, -200), x.set(1, 0, 200), x.set(2, 0, 0);
    const SwigluArgs args{x.view(), y.view()};
    ok(table_.swiglu(&call_, &args));
    const SwigluGradArgs grad{x.view(), dy.view(), dx.view()};
    ok(table_.swiglu_grad(&call_, &grad));
    const auto sigmoid = [&](int64_t r, int64_t c) { return 1 / (1 + std::exp(-x.get(r, c))); };
    expect_near(
        y, [&](int64_t r, int64_t c) { return x.get(r, c) * sigmoid(r, c) * x.get(r, f + c); },
        close(), "y");
    expect_near(
        dx,
        [&](int64_t r, int64_t c) {
          if (c >= f) return dy.get(r, c - f) * x.get(r, c - f) * sigmoid(r, c - f);
          const double s = sigmoid(r, c);
          return dy.get(r, c) * x.get(r, f + c) * s * (1 + x.get(r, c) * (1 - s));
        },
        close(), "dx");
  }
}

TEST_P(CpuKernels, RotaryTurnsPairsAndItsInverseTurnsBack) {
  for (const int64_t k : {2, 6, 32, 64, 80}) {
    const int64_t heads = 3, rest = 5, cols = heads * k + rest, half = k / 2;
    Array x(model(), 4, cols, 3), y(model(), 4, cols, 1), back(model(), 4, cols);
    Array cos(wide(), 9, half), sin(wide(), 9, half), positions(DType::kI32, 1, 4);
    x.random(1);
    for (int64_t p = 0; p < 9; ++p)
      for (int64_t i = 0; i < half; ++i) {
        const double angle =
            static_cast<double>(p) *
            std::pow(100.0, -2.0 * static_cast<double>(i) / static_cast<double>(k));
        cos.set(p, i, std::cos(angle)), sin.set(p, i, std::sin(angle));
      }
    for (int64_t r = 0; r < 4; ++r) positions.set(0, r, static_cast<double>((r * 5 + 3) % 9));
    const RotaryArgs args{x.view(), y.view(), positions.view1(), cos.view(), sin.view(), heads,
                          k,        0};
    ok(table_.rotary(&call_, &args));
    expect_near(
        y,
        [&](int64_t r, int64_t c) {
          if (c >= heads * k) return x.get(r, c);
          const int64_t i = c % k % half, p = static_cast<int64_t>(positions.get(0, r));
          return c % k < half ? x.get(r, c) * cos.get(p, i) - x.get(r, c + half) * sin.get(p, i)
                              : x.get(r, c) * cos.get(p, i) + x.get(r, c - half) * sin.get(p, i);
        },
        close(), "rotary");
    const RotaryArgs inverse{
        y.view(), back.view(), positions.view1(), cos.view(), sin.view(), heads, k, 1};
    ok(table_.rotary(&call_, &inverse));
    expect_near(
        back, [&](int64_t r, int64_t c) { return x.get(r, c); }, 2 * close(), "inverse");
  }
}

TEST_P(CpuKernels, SoftmaxMatchesReferenceAlsoWithMinusInfinity) {
  for (const int64_t n : kWidths) {
    Array x(wide(), 3, n, 2), y(wide(), 3, n, 1), dy(wide(), 3, n), dx(wide(), 3, n);
    x.random(1, -30, 30), dy.random(2);
    if (n > 2) x.set(1, 1, -INFINITY);
    const SoftmaxArgs args{x.view(), y.view()};
    ok(table_.softmax(&call_, &args));
    const SoftmaxGradArgs grad{y.view(), dy.view(), dx.view()};
    ok(table_.softmax_grad(&call_, &grad));
    for (int64_t r = 0; r < 3; ++r) {
      double max = -INFINITY, sum = 0, dot = 0;
      for (int64_t c = 0; c < n; ++c) max = std::fmax(max, x.get(r, c));
      for (int64_t c = 0; c < n; ++c) sum += std::exp(x.get(r, c) - max);
      for (int64_t c = 0; c < n; ++c) dot += y.get(r, c) * dy.get(r, c);
      for (int64_t c = 0; c < n; ++c) {
        ASSERT_NEAR(y.get(r, c), std::exp(x.get(r, c) - max) / sum, tolerance(wide()));
        ASSERT_NEAR(dx.get(r, c), y.get(r, c) * (dy.get(r, c) - dot), tolerance(wide()));
      }
    }
  }
}

class CpuKernelsFloat : public CpuKernels {};

TEST_P(CpuKernelsFloat, ExponentialIsAccurateAndRightAtTheEnds) {
  // softmax of (x, 0) is exp(x) / (1 + exp(x)): for x < -20 that is exp(x) to rounding.
  for (double x = -20; x > -103.2; x -= 0.37) {
    Array logits(DType::kF32, 1, 2), y(DType::kF32, 1, 2);
    logits.set(0, 0, x);
    const SoftmaxArgs args{logits.view(), y.view()};
    ok(table_.softmax(&call_, &args));
    const double want = std::exp(logits.get(0, 0)) / (1 + std::exp(logits.get(0, 0)));
    ASSERT_NEAR(y.get(0, 0), want, 3e-7 * want + 1.5e-45) << x;
  }
  for (const double x : {-104.5, -1e30, -static_cast<double>(INFINITY)}) {
    Array logits(DType::kF32, 1, 2), y(DType::kF32, 1, 2);
    logits.set(0, 0, x);
    const SoftmaxArgs args{logits.view(), y.view()};
    ok(table_.softmax(&call_, &args));
    EXPECT_EQ(y.get(0, 0), 0.0) << x;
    EXPECT_EQ(y.get(0, 1), 1.0) << x;
  }
  Array logits(DType::kF32, 1, 20), y(DType::kF32, 1, 20);
  logits.set(0, 4, NAN);
  const SoftmaxArgs args{logits.view(), y.view()};
  ok(table_.softmax(&call_, &args));
  EXPECT_TRUE(std::isnan(y.get(0, 0)) && std::isnan(y.get(0, 4)));
}

// Parts of a vocabulary, together, give what the whole gives.
TEST_P(CpuKernels, CrossEntropyOfPartsMatchesTheWhole) {
  const int64_t n = 5, v = 100, cuts[] = {0, 37, 38, 100};
  Array logits(wide(), n, v), labels(DType::kI32, 1, n), losses(DType::kF64, 1, n);
  Array dlogits(model(), n, v);
  logits.random(1, -8, 8);
  const double chosen[] = {0, 37, -1, 99, 50};
  for (int64_t r = 0; r < n; ++r) labels.set(0, r, chosen[r]);
  const CrossEntropyArgs args{.logits = logits.view(),
                              .labels = labels.view1(),
                              .losses = losses.view1(),
                              .dlogits = dlogits.view()};
  ok(table_.cross_entropy(&call_, &args));
  const auto columns = [](const View& view, int64_t begin, int64_t end) {
    View part = view;
    part.data = static_cast<char*>(view.data) + begin * size_of(view.dtype);
    part.shape[1] = end - begin;
    return part;
  };
  Array sums(DType::kF64, 3 * n, 3);
  for (int p = 0; p < 3; ++p) {
    View rows = sums.view();
    rows.data = static_cast<double*>(rows.data) + p * n * rows.row_stride;
    rows.shape[0] = n;
    const VocabSumsArgs part{columns(logits.view(), cuts[p], cuts[p + 1]), labels.view1(), rows,
                             cuts[p]};
    ok(table_.vocab_sums(&call_, &part));
  }
  for (int p = 0; p < 3; ++p) {
    Array part_losses(DType::kF64, 1, n), part_dlogits(model(), n, cuts[p + 1] - cuts[p]);
    const CrossEntropyArgs part{.logits = columns(logits.view(), cuts[p], cuts[p + 1]),
                                .labels = labels.view1(),
                                .sums = sums.view(),
                                .losses = part_losses.view1(),
                                .dlogits = part_dlogits.view(),
                                .first_label = cuts[p]};
    ok(table_.cross_entropy(&call_, &part));
    for (int64_t r = 0; r < n; ++r) {
      ASSERT_NEAR(part_losses.get(0, r), losses.get(0, r), 1e-6);
      for (int64_t c = cuts[p]; c < cuts[p + 1]; ++c)
        ASSERT_NEAR(part_dlogits.get(r, c - cuts[p]), dlogits.get(r, c), close());
    }
  }
}

TEST_P(CpuKernels, CrossEntropyMatchesReference) {
  for (const int64_t v : {1, 7, 100, 5003, 50304}) {
    Array logits(wide(), 4, v, 3), labels(DType::kI32, 1, 4), losses(DType::kF64, 1, 4);
    Array dlogits(model(), 4, v, 1);
    logits.random(1, -8, 8), dlogits.constant(5);
    labels.set(0, 0, 0), labels.set(0, 1, static_cast<double>(v - 1)), labels.set(0, 2, -1);
    labels.set(0, 3, static_cast<double>(v / 2));
    CrossEntropyArgs args{.logits = logits.view(),
                          .labels = labels.view1(),
                          .losses = losses.view1(),
                          .dlogits = dlogits.view()};
    ok(table_.cross_entropy(&call_, &args));
    for (int64_t r = 0; r < 4; ++r) {
      const int64_t label = static_cast<int64_t>(labels.get(0, r));
      double max = -INFINITY, sum = 0;
      for (int64_t c = 0; c < v; ++c) max = std::fmax(max, logits.get(r, c));
      for (int64_t c = 0; c < v; ++c) sum += std::exp(logits.get(r, c) - max);
      const double want = label < 0 ? 0 : max + std::log(sum) - logits.get(r, label);
      ASSERT_NEAR(losses.get(0, r), want, 1e-7 + (wide() == DType::kF64 ? 0 : 1e-6));
      for (int64_t c = 0; c < v; ++c) {
        const double p = label < 0 ? 0 : std::exp(logits.get(r, c) - max) / sum - (c == label);
        ASSERT_NEAR(dlogits.get(r, c), p, close() * std::fmax(1e-3, std::fabs(p))) << c;
      }
    }
    EXPECT_TRUE(dlogits.padding_is_untouched());
    const Array before = losses;
    args.dlogits = {};
    losses.constant(0);
    ok(table_.cross_entropy(&call_, &args));
    EXPECT_EQ(losses.bytes(), before.bytes());
  }
  Array logits(wide(), 1, 4), labels(DType::kI32, 1, 1), losses(DType::kF64, 1, 1);
  labels.set(0, 0, 4);
  const CrossEntropyArgs args{
      .logits = logits.view(), .labels = labels.view1(), .losses = losses.view1()};
  EXPECT_NE(table_.cross_entropy(&call_, &args), 0);
  EXPECT_NE(std::string(error_).find("label"), std::string::npos);
}

TEST_P(CpuKernels, AddScaleAndFillOnStridedAndInPlaceViews) {
  Array a(model(), 5, 37, 3), b(model(), 5, 37, 1), y(model(), 5, 37, 2);
  a.random(1), b.random(2);
  const BinaryArgs add{a.view(), b.view(), y.view()};
  ok(table_.add(&call_, &add));
  const auto sum = [&](int64_t r, int64_t c) { return a.get(r, c) + b.get(r, c); };
  expect_near(y, sum, close(), "add");
  Array in_place = a;
  const BinaryArgs add_in_place{in_place.view(), b.view(), in_place.view()};
  ok(table_.add(&call_, &add_in_place));
  expect_near(in_place, sum, close(), "add in place");
  const ScaleArgs scale{a.view(), y.view(), -1.75};
  ok(table_.scale(&call_, &scale));
  expect_near(
      y, [&](int64_t r, int64_t c) { return -1.75 * a.get(r, c); }, close(), "scale");
  const FillArgs fill{y.view(), 0.625};
  ok(table_.fill(&call_, &fill));
  expect_near(
      y, [](int64_t, int64_t) { return 0.625; }, 0, "fill");
  for (const DType dtype : {DType::kI64, DType::kI32, DType::kI8, DType::kU8}) {
    Array integers(dtype, 3, 5, 2);
    const FillArgs args{integers.view(), 3};
    ok(table_.fill(&call_, &args));
    expect_near(
        integers, [](int64_t, int64_t) { return 3; }, 0, "fill of integers");
  }
}

TEST_P(CpuKernels, CastRoundsToNearestAndAccumulates) {
  for (const DType to : {DType::kF64, DType::kF32, DType::kBF16}) {
    Array x(model(), 5, 37, 3), y(to, 5, 37, 1);
    x.random(1), x.set(0, 0, NAN), x.set(0, 1, INFINITY), x.set(0, 2, 1.00390625);  // a tie
    CastArgs args{x.view(), y.view(), 0};
    ok(table_.cast(&call_, &args));
    Array want(to, 5, 37);
    for (int64_t r = 0; r < 5; ++r)
      for (int64_t c = 0; c < 37; ++c) want.set(r, c, x.get(r, c));
    EXPECT_TRUE(std::isnan(y.get(0, 0)));
    x.set(0, 0, 1), want.set(0, 0, 1), y.set(0, 0, 1);
    for (int64_t r = 0; r < 5; ++r)
      for (int64_t c = 0; c < 37; ++c) ASSERT_EQ(y.get(r, c), want.get(r, c));
    x.set(0, 1, 0), y.random(2);
    const Array before = y;
    args.accumulate = 1;
    ok(table_.cast(&call_, &args));
    expect_near(
        y, [&](int64_t r, int64_t c) { return before.get(r, c) + x.get(r, c); }, tolerance(to),
        "accumulate");
  }
}

TEST_P(CpuKernels, DropoutIsTheStatedFunctionOfTheElementIndex) {
  for (const int64_t first : {int64_t{0}, int64_t{1}, int64_t{7}, (int64_t{1} << 34) - 3}) {
    Array x(model(), 9, 53, 3), y(model(), 9, 53, 1), tokens(DType::kI64, 1, 9);
    x.random(1, 1, 2);
    for (int64_t r = 0; r < 9; ++r) tokens.set(0, r, static_cast<double>(first + r * r % 7));
    const DropoutArgs args{x.view(), y.view(), tokens.view1(), 11, 12, 5, 60, 4, 0.3};
    ok(table_.dropout(&call_, &args));
    int64_t kept = 0;
    expect_near(
        y,
        [&](int64_t r, int64_t c) {
          const auto i = static_cast<uint64_t>((first + r * r % 7) * 60 + 4 + c);
          const Philox4 words = philox({11, 12}, 5, i / 4);
          const bool keep = uniform_from(words.x[i % 4]) >= 0.3;
          kept += keep;
          return keep ? x.get(r, c) / 0.7 : 0.0;
        },
        close(), "dropout");
    EXPECT_NEAR(static_cast<double>(kept) / (9 * 53), 0.7, 0.1);
  }
  Array x(model(), 1, 8);
  Array token(DType::kI64, 1, 1);
  const DropoutArgs args{x.view(), x.view(), token.view1(), 1, 2, 3, 8, 0, 1.0};
  EXPECT_NE(table_.dropout(&call_, &args), 0);
}

TEST_P(CpuKernels, EmbeddingAndGatherCopyRows) {
  Array table(model(), 6, 19, 2), ids(DType::kI32, 1, 5), out(model(), 5, 19, 1);
  table.random(1);
  const double wanted[] = {3, -1, 5, 0, 3};
  for (int64_t i = 0; i < 5; ++i) ids.set(0, i, wanted[i]);
  const auto want = [&](int64_t r, int64_t c) {
    return wanted[r] < 0 ? 0 : table.get(static_cast<int64_t>(wanted[r]), c);
  };
  const EmbeddingArgs args{table.view(), ids.view1(), out.view()};
  ok(table_.embedding(&call_, &args));
  expect_near(out, want, 0, "embedding");
  out.constant(9);
  const GatherRowsArgs gather{table.view(), ids.view1(), out.view()};
  ok(table_.gather_rows(&call_, &gather));
  expect_near(out, want, 0, "gather_rows");

  Array dout(model(), 5, 19, 3), dtable(wide(), 6, 19, 1);
  dout.random(2), dtable.constant(1);
  const EmbeddingGradArgs grad{ids.view1(), dout.view(), dtable.view()};
  ok(table_.embedding_grad(&call_, &grad));
  expect_near(
      dtable,
      [&](int64_t v, int64_t c) {
        double sum = 1;
        for (int64_t r = 0; r < 5; ++r)
          if (wanted[r] == static_cast<double>(v)) sum += dout.get(r, c);
        return sum;
      },
      tolerance(wide()), "embedding_grad");
  ids.set(0, 0, 6);
  EXPECT_NE(table_.embedding(&call_, &args), 0);
  EXPECT_NE(table_.embedding_grad(&call_, &grad), 0);
}

TEST_P(CpuKernels, ThreadsChangeNoBit) {
  const int64_t n = 301, d = 771;
  Array x(model(), n, d), dy(model(), n, d), weight(wide(), 1, d), rstd(wide(), 1, n);
  x.random(1), dy.random(2), weight.random(3), rstd.random(4, 0.5, 2);
  expect_same_for_threads([&] {
    Array dx(model(), n, d), dweight(wide(), 1, d);
    const RmsNormGradArgs args{
        x.view(), weight.view1(), rstd.view1(), dy.view(), dx.view(), dweight.view1(), 0};
    ok(table_.rms_norm_grad(&call_, &args));
    std::vector<char> bytes = dx.bytes();
    bytes.insert(bytes.end(), dweight.bytes().begin(), dweight.bytes().end());
    return bytes;
  });
  expect_same_for_threads([&] {
    Array y(model(), n, d), tokens(DType::kI64, 1, n);
    for (int64_t r = 0; r < n; ++r) tokens.set(0, r, static_cast<double>(r));
    const DropoutArgs args{x.view(), y.view(), tokens.view1(), 11, 12, 5, d, 3, 0.3};
    ok(table_.dropout(&call_, &args));
    return y.bytes();
  });
  Array ids(DType::kI32, 1, n);
  for (int64_t i = 0; i < n; ++i) ids.set(0, i, static_cast<double>(i * i % 13 - 1));
  expect_same_for_threads([&] {
    Array dtable(wide(), 13, d);
    const EmbeddingGradArgs args{ids.view1(), x.view(), dtable.view()};
    ok(table_.embedding_grad(&call_, &args));
    return dtable.bytes();
  });
}

TEST_P(CpuKernels, UnsupportedTypesAreNamed) {
  Array x(DType::kI32, 2, 4);
  const ScaleArgs args{x.view(), x.view(), 2};
  EXPECT_NE(table_.scale(&call_, &args), 0);
  EXPECT_NE(std::string(error_).find("i32"), std::string::npos) << error_;
}

INSTANTIATE_TEST_SUITE_P(Levels, CpuKernelsF64, ::testing::ValuesIn(kernel_cases({DType::kF64})),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Levels, CpuKernelsFloat,
                         ::testing::ValuesIn(kernel_cases({DType::kF32, DType::kBF16})), case_name);
INSTANTIATE_TEST_SUITE_P(Levels, CpuKernels, ::testing::ValuesIn(kernel_cases()), case_name);

}  // namespace
}  // namespace orthant::testing
