// SPDX-License-Identifier: Apache-2.0
// Matrices in few bits: against an implementation in Python, and rectangles against the whole.
#include "tensor/ops/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/philox.h"
#include "tensor/code_books.h"
#include "tests/tensor/cpu_testing.h"

namespace orthant::testing {
namespace {

Tensor drawn(int64_t rows, int64_t columns, uint64_t seed) {
  const PhiloxKey key = make_key(seed, RandomPurpose::kTest, "quantize");
  const Tensor w = Tensor::empty({rows, columns}, DType::kF32);
  for (int64_t i = 0; i < w.numel(); ++i)
    w.as<float>()[i] = static_cast<float>(0.02 * (1.0 + static_cast<double>(i % 7)) *
                                          philox_normal(key, 0, static_cast<uint64_t>(i)));
  return w;
}

std::string bytes_of(const Tensor& tensor) {
  return {static_cast<const char*>(tensor.data()), static_cast<size_t>(tensor.bytes())};
}

Tensor dequantized(const QuantizedMatrix& matrix, DType dtype) {
  const Tensor y = Tensor::empty(matrix.shape(), dtype);
  matrix.dequantize(y);
  return y;
}

nlohmann::json golden() {
  std::ifstream file(std::string(ORTHANT_SOURCE_DIR) + "/tests/golden/quantization/nf4.json");
  return nlohmann::json::parse(file);
}

// The numbers of make.py there.
Tensor drawn_like_python(int64_t rows, int64_t columns) {
  const Tensor w = Tensor::empty({rows, columns}, DType::kF32);
  for (int64_t i = 0; i < w.numel(); ++i) {
    const int64_t drawn = (i * 7919 + i * i % 1009 * 13) % 20011 - 10005;
    w.as<float>()[i] = static_cast<float>(static_cast<double>(drawn) /
                                          (10005.0 * static_cast<double>(20 + i % 5)));
  }
  return w;
}

std::string hex_of(const Tensor& tensor) {
  std::string text;
  for (const char byte : bytes_of(tensor)) {
    constexpr const char* kDigits = "0123456789abcdef";
    text += kDigits[static_cast<unsigned char>(byte) / 16];
    text += kDigits[static_cast<unsigned char>(byte) % 16];
  }
  return text;
}

void expect_near(float got, double want) {
  EXPECT_NEAR(static_cast<double>(got), want, 1e-6 * std::abs(want));
}

TEST(QuantizeTest, Nf4IsThatOfOthers) {
  const nlohmann::json all = golden();
  ASSERT_EQ(all.at("matrices").size(), 3U);
  for (const auto& of : all.at("matrices")) {
    const QuantizedMatrix q =
        QuantizedMatrix::of(Quantization::kNf4, drawn_like_python(of.at("rows"), of.at("columns")));
    const std::vector<QuantizedPart> parts = q.parts();
    EXPECT_EQ(hex_of(parts[0].data), of.at("codes").get<std::string>());
    EXPECT_EQ(hex_of(parts[1].data), of.at("scales").get<std::string>());
    const std::vector<double> nested = of.at("nested"), want = of.at("dequantized");
    for (size_t i = 0; i < nested.size(); ++i) expect_near(parts[2].data.as<float>()[i], nested[i]);
    const Tensor got = dequantized(q, DType::kF32);
    for (size_t i = 0; i < want.size(); ++i)
      expect_near(got.as<float>()[i * of.at("every").get<size_t>()], want[i]);
  }
}

TEST(QuantizeTest, EightBitsOfTheLargestAreThoseOfOthers) {
  const std::vector<double> want = golden().at("dynamic_map");
  const DynamicMap map;
  ASSERT_EQ(want.size(), 256U);
  for (size_t i = 0; i < want.size(); ++i) expect_near(map.values[i], want[i]);
}

TEST(QuantizeTest, TakesTheBitsThatItPromises) {
  for (const auto& [format, bits] :
       {std::pair{Quantization::kNf4, 4.127}, {Quantization::kInt8, 8.0}}) {
    const Shape shape{2048, 4096};
    const QuantizedMatrix matrix(format, shape, {0, 0}, shape, {DeviceType::kMeta, 0});
    EXPECT_NEAR(8.0 * static_cast<double>(matrix.bytes()) / static_cast<double>(shape.numel()),
                bits, format == Quantization::kNf4 ? 1e-3 : 0.01);
  }
}

// No element is further off than half the widest step of its block, or half a step of its row.
TEST(QuantizeTest, ErrorsAreBoundedByTheSteps) {
  const Tensor w = drawn(33, 200, 3);
  const std::vector<double> want = w.to_doubles();
  for (const Quantization format : {Quantization::kNf4, Quantization::kInt8}) {
    const QuantizedMatrix q = QuantizedMatrix::of(format, w);
    const std::vector<double> got = dequantized(q, DType::kF32).to_doubles();
    double error = 0, all = 0;
    for (int64_t r = 0; r < 33; ++r) {
      for (int64_t c = 0; c < 200; ++c) {
        const bool nf4 = format == Quantization::kNf4;
        const int64_t begin = nf4 ? c / 64 * 64 : 0,
                      end = nf4 ? std::min<int64_t>(200, begin + 64) : 200;
        double largest = 0;
        for (int64_t k = begin; k < end; ++k)
          largest = std::max(largest, std::abs(want[static_cast<size_t>(r * 200 + k)]));
        const auto i = static_cast<size_t>(r * 200 + c);
        // The largest itself is off by what its 8 bits lose.
        EXPECT_LE(std::abs(got[i] - want[i]), largest * (nf4 ? 0.152 + 0.05 : 0.5001 / 127)) << i;
        error += (got[i] - want[i]) * (got[i] - want[i]);
        all += want[i] * want[i];
      }
    }
    const double relative = std::sqrt(error / all);
    EXPECT_NEAR(relative_error(q, w), relative, 1e-6);
    EXPECT_LT(relative, format == Quantization::kNf4 ? 0.11 : 0.012);
    EXPECT_GT(relative, format == Quantization::kNf4 ? 0.05 : 0.002);
  }
}

TEST(QuantizeTest, RectanglesHaveTheElementsOfTheWhole) {
  const int64_t rows = 21, columns = 333;
  const Tensor w = drawn(rows, columns, 5);
  for (const Quantization format : {Quantization::kNf4, Quantization::kInt8}) {
    const QuantizedMatrix whole = QuantizedMatrix::of(format, w);
    for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
      const Tensor all = dequantized(whole, dtype);
      const int64_t size = size_of(dtype);
      for (const auto& [row, count, column, width] : {std::array<int64_t, 4>{0, 21, 0, 333},
                                                      {3, 7, 64, 128},
                                                      {20, 1, 77, 1},
                                                      {0, 21, 13, 200},
                                                      {5, 9, 128, 205},
                                                      {1, 2, 191, 66},
                                                      {4, 0, 0, 333},
                                                      {4, 3, 65, 0}}) {
        const QuantizedMatrix part(format, {rows, columns}, {row, column}, {count, width});
        part.take(whole);
        const std::string got = bytes_of(dequantized(part, dtype)), want = bytes_of(all);
        for (int64_t r = 0; r < count; ++r)
          EXPECT_EQ(std::memcmp(got.data() + r * width * size,
                                want.data() + ((row + r) * columns + column) * size,
                                static_cast<size_t>(width * size)),
                    0)
              << row + r << ", " << column << ", " << width;
      }
    }
  }
}

// Elements are products of two floats, rounded once: alike at every level, and narrow types round
// what wide ones hold.
using Dequantize = CpuKernels;
TEST_P(Dequantize, HasTheBitsOfEveryLevel) {
  const QuantizedMatrix q = QuantizedMatrix::of(Quantization::kNf4, drawn(5, 200, 7));
  const std::vector<QuantizedPart> parts = q.parts();
  const std::vector<double> exact = dequantized(q, DType::kF64).to_doubles();
  for (const int64_t first : {0, 2, 37}) {
    Array y(model(), 5, 200 - first, 3);
    View codes{parts[0].data.data(), DType::kU8, 2, {5, 100}, 100},
        scales{parts[1].data.data(), DType::kU8, 2, {5, 4}, 4};
    codes.data = static_cast<uint8_t*>(codes.data) + first / 2;
    const DequantizeArgs args{
        .codes = codes,
        .scales = scales,
        .nested = {parts[2].data.data(), DType::kF32, 1, {parts[2].data.numel()}, 0},
        .y = y.view(),
        .format = Quantization::kNf4,
        .first_column = first,
        .row_blocks = 4};
    expect_same_for_threads([&] {
      ok(table_.dequantize(&call_, &args));
      return y.bytes();
    });
    for (int64_t r = 0; r < 5; ++r)
      for (int64_t c = 0; c < 200 - first; ++c) {
        const double want = exact[static_cast<size_t>(r * 200 + first + c)];
        const double rounded =
            model() == DType::kF64 ? want
            : model() == DType::kF32
                ? static_cast<double>(static_cast<float>(want))
                : static_cast<double>(static_cast<float>(bf16(static_cast<float>(want))));
        ASSERT_EQ(y.get(r, c), rounded) << r << ", " << c;
      }
    EXPECT_TRUE(y.padding_is_untouched());
  }
}
INSTANTIATE_TEST_SUITE_P(All, Dequantize, ::testing::ValuesIn(kernel_cases()), case_name);

TEST(QuantizeTest, ZerosStayZeros) {
  for (const Quantization format : {Quantization::kNf4, Quantization::kInt8}) {
    const Tensor zeros = Tensor::zeros({3, 130}, DType::kF32);
    const QuantizedMatrix q = QuantizedMatrix::of(format, zeros);
    for (const double x : dequantized(q, DType::kF32).to_doubles()) EXPECT_EQ(x, 0.0);
    EXPECT_EQ(relative_error(q, zeros), 0.0);
  }
}

}  // namespace
}  // namespace orthant::testing
