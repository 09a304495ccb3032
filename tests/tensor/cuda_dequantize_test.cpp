// SPDX-License-Identifier: Apache-2.0
// The bodies of dequantize, on the host: the bits of the CPU.
#include "tests/tensor/cuda_bodies.h"

namespace orthant::testing {
namespace {

using CudaDequantize = CudaBodies;

TEST_P(CudaDequantize, HasTheBitsOfTheCpu) {
  Array codes(DType::kU8, 9, 150, 2), scales(DType::kU8, 9, 5, 1), nested(DType::kF32, 1, 4),
      bytes(DType::kI8, 9, 77, 1), factors(DType::kF32, 1, 9);
  codes.random(1, 0, 256), scales.random(2, 0, 256), nested.random(3, 0.01, 0.1);
  bytes.random(4, -127, 128), factors.random(5, 0.01, 0.1);
  const auto run = [&](const DequantizeArgs& given) {
    compare("dequantize", [&](const Backend& t, const BackendCall* call) {
      Array y(model(), 9, 77, 3);
      DequantizeArgs args = given;
      args.y = y.view();
      ok(t.dequantize(call, &args));
      if (&t == &serial_) {
        Array again(model(), 9, 77, 3);
        args.y = again.view();
        ok(cpu_.dequantize(call, &args));
        EXPECT_TRUE(again.bytes() == y.bytes());
      }
      return Arrays{y};
    });
  };
  for (const int64_t column : {0, 1, 77, 192})
    run({.codes = codes.view(),
         .scales = scales.view(),
         .nested = nested.view1(),
         .format = Quantization::kNf4,
         .first_row = 96,
         .first_column = column,
         .row_blocks = 5});
  run({.codes = bytes.view(), .scales = factors.view1(), .format = Quantization::kInt8});
}

ORTHANT_INSTANTIATE_BODIES(CudaDequantize);

}  // namespace
}  // namespace orthant::testing
