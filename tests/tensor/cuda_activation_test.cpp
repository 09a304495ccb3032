// SPDX-License-Identifier: Apache-2.0
// The bodies of SwiGLU, rotary and softmax, and their gradients, on the host.
#include "tests/tensor/cuda_bodies.h"

namespace orthant::testing {
namespace {

using CudaActivation = CudaBodies;

TEST_P(CudaActivation, Rotary) {
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

TEST_P(CudaActivation, RotaryOfAPartAndHeadsThatMove) {
  const int64_t n = 5, heads = 3, width = 11, half = 3;
  const Array x = Array(model(), n, heads * width, 2).random(1);
  Array cos(wide(), 8, half, 1), sin(wide(), 8, half, 1), at(DType::kI32, 1, n);
  cos.random(2), sin.random(3);
  for (int64_t r = 0; r < n; ++r) at.set(0, r, static_cast<double>(r * 3 % 8));
  compare("rotary", [&](const Backend& t, const BackendCall* call) {
    Array source = x, y(model(), n, heads * width, 1);
    const RotaryArgs args{source.view(), y.view(), at.view1(), cos.view(), sin.view(),
                          heads,         width,    0,          4};
    ok(t.rotary(call, &args));
    return Arrays{y};
  });
  for (const auto& [x_step, y_step] : {std::pair<int64_t, int64_t>{11, 7}, {0, 9}, {11, 0}}) {
    compare("copy_heads",
            [&, from = x_step, to = y_step](const Backend& t, const BackendCall* call) {
              Array source = x, y = Array(model(), n, heads * width, 1).random(4);
              const CopyHeadsArgs args{source.view(), y.view(), heads, 5, from, to};
              ok(t.copy_heads(call, &args));
              return Arrays{y};
            });
  }
}

TEST_P(CudaActivation, SwigluAndSoftmax) {
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

ORTHANT_INSTANTIATE_BODIES(CudaActivation);

}  // namespace
}  // namespace orthant::testing
