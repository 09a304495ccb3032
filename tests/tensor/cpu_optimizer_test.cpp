// SPDX-License-Identifier: Apache-2.0
// The optimizers' kernels against their formulas, and the sums of squares that clipping takes.
#include "tests/tensor/cpu_testing.h"

namespace orthant::testing {
namespace {

class CpuOptimizer : public CpuKernels {};

TEST_P(CpuOptimizer, AdamwAndSgdMatchTheirFormulas) {
  const int64_t n = 1003;
  Array param(model(), 1, n), master(wide(), 1, n), m(wide(), 1, n), v(wide(), 1, n);
  Array grad(wide(), 1, n);
  master.random(1), m.random(2), v.random(3, 0, 1), grad.random(4);
  const bool own_master = model() == wide();
  const Array p0 = master, m0 = m, v0 = v;
  if (own_master) param = master;
  const View master_view = own_master ? param.view1() : master.view1();
  const AdamwArgs adamw{
      param.view1(), master_view, m.view1(), v.view1(),     grad.view1(),    1e-2, 0.9,
      0.95,          1e-8,        0.1,       1 - 0.9 * 0.9, 1 - 0.95 * 0.95, 0.5};
  ok(table_.adamw(&call_, &adamw));
  const Array& result = own_master ? param : master;
  for (int64_t i = 0; i < n; ++i) {
    const double g = grad.at(i) * 0.5, m1 = 0.9 * m0.at(i) + 0.1 * g;
    const double v1 = 0.95 * v0.at(i) + 0.05 * g * g;
    const double step = m1 / (1 - 0.81) / (std::sqrt(v1 / (1 - 0.95 * 0.95)) + 1e-8);
    const double want = p0.at(i) - 1e-2 * (step + 0.1 * p0.at(i));
    ASSERT_NEAR(m.at(i), m1, tolerance(wide()));
    ASSERT_NEAR(v.at(i), v1, tolerance(wide()));
    ASSERT_NEAR(result.at(i), want, tolerance(wide()));
    if (!own_master) {
      ASSERT_EQ(param.at(i),
                static_cast<double>(static_cast<float>(bf16(static_cast<float>(master.at(i))))));
    }
  }
  const Array before = result;
  const SgdArgs sgd{param.view1(), master_view, grad.view1(), 0.25, 0.1, 0.5};
  ok(table_.sgd(&call_, &sgd));
  for (int64_t i = 0; i < n; ++i)
    ASSERT_NEAR(result.at(i), before.at(i) - 0.25 * (0.5 * grad.at(i) + 0.1 * before.at(i)),
                tolerance(wide()));
}

TEST_P(CpuOptimizer, SumSquaresOfBlocks) {
  for (const int64_t n : {1, 31, 4096, 4097, 10000}) {
    Array x(model(), 1, n), sums(DType::kF64, 1, (n + 4095) / 4096);
    x.random(1, -3, 3);
    const SumSquaresArgs args{x.view1(), sums.view1()};
    ok(table_.sum_squares(&call_, &args));
    for (int64_t block = 0; block < sums.cols(); ++block) {
      double want = 0;
      for (int64_t i = block * 4096; i < std::min(n, (block + 1) * 4096); ++i)
        want += x.at(i) * x.at(i);
      ASSERT_NEAR(sums.at(block), want, 1e-12 * want);
    }
  }
}

TEST_P(CpuOptimizer, ThreadsChangeNoBit) {
  const int64_t n = 301 * 771;
  Array p(wide(), 1, n), m(wide(), 1, n), v(wide(), 1, n), grad(wide(), 1, n);
  p.random(5), m.random(6), v.random(7, 0, 1), grad.random(8);
  expect_same_for_threads([&] {
    Array master = p, m1 = m, v1 = v, param(model(), 1, n);
    const AdamwArgs args{model() == wide() ? master.view1() : param.view1(),
                         master.view1(),
                         m1.view1(),
                         v1.view1(),
                         grad.view1(),
                         1e-2,
                         0.9,
                         0.95,
                         1e-8,
                         0.1,
                         0.2,
                         0.1,
                         1.5};
    ok(table_.adamw(&call_, &args));
    std::vector<char> bytes = master.bytes();
    bytes.insert(bytes.end(), param.bytes().begin(), param.bytes().end());
    return bytes;
  });
}

INSTANTIATE_TEST_SUITE_P(Levels, CpuOptimizer, ::testing::ValuesIn(kernel_cases()), case_name);

}  // namespace
}  // namespace orthant::testing
