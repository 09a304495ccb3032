// SPDX-License-Identifier: Apache-2.0
// The bodies of adamw, sgd and sum_squares, on the host.
#include "tests/tensor/cuda_bodies.h"

namespace orthant::testing {
namespace {

using CudaOptimizer = CudaBodies;

TEST_P(CudaOptimizer, Optimizers) {
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

ORTHANT_INSTANTIATE_BODIES(CudaOptimizer);

}  // namespace
}  // namespace orthant::testing
