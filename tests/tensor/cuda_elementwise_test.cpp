// SPDX-License-Identifier: Apache-2.0
// The bodies of add, scale, cast, fill and dropout, on the host.
#include "tests/tensor/cuda_bodies.h"

namespace orthant::testing {
namespace {

using CudaElementwise = CudaBodies;

TEST_P(CudaElementwise, Elementwise) {
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

TEST_P(CudaElementwise, DropoutKeepsTheSameElements) {
  for (const double p : {0.0, 0.1, 0.9})
    for (const int64_t first : {int64_t{0}, int64_t{5}, (int64_t{1} << 35) + 3})
      for (const int64_t pad : {0, 1}) {
        const Array x = Array(model(), 7, 29, pad).random(1, 1, 2);
        Array tokens(DType::kI64, 1, 7);
        for (int64_t r = 0; r < 7; ++r) tokens.set(0, r, static_cast<double>(first + r * r % 5));
        compare("dropout", [&](const Backend& t, const BackendCall* call) {
          Array y(model(), 7, 29, 2 * pad);
          const DropoutArgs args{
              x.view(), y.view(), tokens.view1(), 12, 34, (uint64_t{1} << 33) + 5, 31, 2, p};
          ok(t.dropout(call, &args));
          return Arrays{y};
        });
      }
  for (const double p : {1.0, -0.1, 1 - 0x1p-40})
    expect_refused([&](const Backend& t, const BackendCall* call) {
      Array x(model(), 1, 1), token(DType::kI64, 1, 1);
      const DropoutArgs args{x.view(), x.view(), token.view1(), 1, 2, 3, 4, 0, p};
      return t.dropout(call, &args);
    });
}

TEST_P(CudaElementwise, EmptyViewsAreLeftAlone) {
  Array nothing(model(), 0, 8), ids(DType::kI32, 1, 0), table(model(), 4, 8);
  const BinaryArgs binary{nothing.view(), nothing.view(), nothing.view()};
  ok(serial_.add(&call_, &binary));
  const EmbeddingArgs lookup{table.view(), ids.view1(), nothing.view()};
  ok(serial_.embedding(&call_, &lookup));
}

TEST_P(CudaElementwise, OtherTypesAreRefusedByName) {
  Array x(DType::kI32, 2, 2);
  const BinaryArgs args{x.view(), x.view(), x.view()};
  EXPECT_NE(serial_.add(&call_, &args), 0);
  EXPECT_STREQ(error_, "add: the cuda backend does not compute in i32");
}

ORTHANT_INSTANTIATE_BODIES(CudaElementwise);

}  // namespace
}  // namespace orthant::testing
