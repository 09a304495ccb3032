// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/wider.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace orthant {
namespace {

// sign, `exponent_bits` and `mantissa_bits` of a small float; is_ieee: the largest exponent means
// infinity and NaN, else one pattern alone is NaN.
float small_float(uint32_t bits, int exponent_bits, int mantissa_bits, bool is_ieee) {
  const uint32_t mantissa_mask = (1U << mantissa_bits) - 1, mantissa = bits & mantissa_mask;
  const uint32_t exponent_mask = (1U << exponent_bits) - 1;
  const uint32_t exponent = bits >> mantissa_bits & exponent_mask;
  const bool negative = (bits >> (exponent_bits + mantissa_bits) & 1) != 0;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  float value;
  if (exponent == exponent_mask && (is_ieee || mantissa == mantissa_mask)) {
    value = is_ieee && mantissa == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(mantissa), 1 - bias - mantissa_bits);
  } else {
    value = std::ldexp(static_cast<float>(mantissa | (1U << mantissa_bits)),
                       static_cast<int>(exponent) - bias - mantissa_bits);
  }
  return negative ? -value : value;
}

uint16_t bf16_bits(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

}  // namespace

std::optional<DType> kept_dtype(DType in_folder) {
  switch (in_folder) {
    case DType::kF64:
    case DType::kF32:
    case DType::kBF16:
      return in_folder;
    case DType::kF16:
      return DType::kF32;
    case DType::kF8E4M3:
      return DType::kBF16;
    default:
      return std::nullopt;
  }
}

std::string f32_of_f16(const std::string& bytes) {
  const size_t count = bytes.size() / 2;
  std::string wide(4 * count, '\0');
  for (size_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, bytes.data() + 2 * i, 2);
    const float value = small_float(bits, 5, 10, true);
    std::memcpy(wide.data() + 4 * i, &value, 4);
  }
  return wide;
}

std::string bf16_of_fp8(const std::string& bytes, const Shape& shape, const Fp8Blocks& blocks,
                        const TensorSource& source, const std::string& scale) {
  const SafetensorsEntry* entry = source.find(scale);
  const auto blocks_in = [](int64_t n, int64_t block) { return (n + block - 1) / block; };
  ORTHANT_CHECK(shape.rank() == 2 && blocks.rows > 0 && blocks.cols > 0, kData, source.path(),
                ": tensor ", scale, ": want weights of two dimensions in blocks, got ",
                shape.text());
  const Shape wanted = {blocks_in(shape[0], blocks.rows), blocks_in(shape[1], blocks.cols)};
  ORTHANT_CHECK(entry && entry->dtype == DType::kF32 && entry->shape == wanted, kData,
                source.path(), ": tensor ", scale, ": want F32 ", wanted.text(), ", got ",
                entry ? concat(safetensors_dtype(entry->dtype), " ", entry->shape.text())
                      : std::string("none"));
  std::vector<float> factors(static_cast<size_t>(wanted.numel()));
  source.read(scale, 0, factors.data(), wanted.numel() * 4);
  std::array<float, 256> values;
  for (uint32_t i = 0; i < values.size(); ++i) values[i] = small_float(i, 4, 3, false);
  std::string wide(2 * bytes.size(), '\0');
  for (int64_t row = 0; row < shape[0]; ++row) {
    const float* of_row = factors.data() + row / blocks.rows * wanted[1];
    for (int64_t col = 0; col < shape[1]; ++col) {
      const auto at = static_cast<size_t>(row * shape[1] + col);
      const uint16_t bits =
          bf16_bits(values[static_cast<unsigned char>(bytes[at])] * of_row[col / blocks.cols]);
      std::memcpy(wide.data() + 2 * at, &bits, 2);
    }
  }
  return wide;
}

namespace {

// exponent: its bits, all of which are set in what is not finite.
template <class Bits>
int64_t first_with(const std::string& bytes, Bits exponent) {
  for (size_t at = 0; at + sizeof(Bits) <= bytes.size(); at += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, bytes.data() + at, sizeof(Bits));
    if ((bits & exponent) == exponent) return static_cast<int64_t>(at / sizeof(Bits));
  }
  return -1;
}

}  // namespace

int64_t first_not_finite(const std::string& bytes, DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return first_with<uint64_t>(bytes, uint64_t{0x7FF} << 52);
    case DType::kF32:
      return first_with<uint32_t>(bytes, 0x7F800000U);
    case DType::kBF16:
      return first_with<uint16_t>(bytes, uint16_t{0x7F80});
    default:
      return -1;
  }
}

}  // namespace orthant
