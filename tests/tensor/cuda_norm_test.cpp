// SPDX-License-Identifier: Apache-2.0
// The bodies of rms_norm, scale_columns and their gradients, on the host.
#include "tests/tensor/cuda_bodies.h"

namespace orthant::testing {
namespace {

using CudaNorm = CudaBodies;

TEST_P(CudaNorm, RmsNorm) {
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

TEST_P(CudaNorm, ScaleColumns) {
  for (const auto& [n, d] : {std::pair{1, 1}, {3, 31}, {64, 40}, {130, 100}}) {
    const Array x = Array(model(), n, d, 2).random(1), dy = Array(model(), n, d, 1).random(2);
    const Array factor = Array(wide(), 1, d).random(3);
    compare("scale_columns", [&](const Backend& t, const BackendCall* call) {
      Array y(model(), n, d, 3);
      const ScaleColumnsArgs args{x.view(), factor.view1(), y.view()};
      ok(t.scale_columns(call, &args));
      return Arrays{y};
    });
    for (const int accumulate : {0, 1})
      compare(
          "scale_columns_grad",
          [&](const Backend& t, const BackendCall* call) {
            Array dx(model(), n, d, 3), dfactor = Array(wide(), 1, d).random(5);
            const ScaleColumnsGradArgs args{x.view(),  dy.view(),       factor.view1(),
                                            dx.view(), dfactor.view1(), accumulate};
            ok(t.scale_columns_grad(call, &args));
            return Arrays{dx, dfactor};
          },
          3);
  }
}

ORTHANT_INSTANTIATE_BODIES(CudaNorm);

}  // namespace
}  // namespace orthant::testing
