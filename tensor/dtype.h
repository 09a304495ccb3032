// SPDX-License-Identifier: Apache-2.0
// Element types, and bfloat16 as a value.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace orthant {

// DO NOT CHANGE THE VALUES: they cross the backend interface.
enum class DType : int32_t { kF64, kF32, kBF16, kF16, kF8E4M3, kI64, kI32, kI8, kU8 };

int64_t size_of(DType dtype);           // bytes of an element
std::string_view name_of(DType dtype);  // "f64", "f32", "bf16", ...
bool is_floating(DType dtype);
// Where router, softmax, norms, losses and gradient sums are computed: f64 for f64, else f32.
inline DType wide_of(DType dtype) { return dtype == DType::kF64 ? DType::kF64 : DType::kF32; }

// bfloat16: the upper half of a float.  Conversion rounds to nearest, ties to even; NaN stays NaN.
struct bf16 {
  uint16_t bits = 0;

  bf16() = default;
  explicit bf16(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
    const uint32_t nan = (u >> 16) | 0x40u;
    bits = static_cast<uint16_t>((u & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
  }
  explicit operator float() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

template <class T>
inline constexpr DType dtype_of = DType::kU8;
template <>
inline constexpr DType dtype_of<double> = DType::kF64;
template <>
inline constexpr DType dtype_of<float> = DType::kF32;
template <>
inline constexpr DType dtype_of<bf16> = DType::kBF16;
template <>
inline constexpr DType dtype_of<int64_t> = DType::kI64;
template <>
inline constexpr DType dtype_of<int32_t> = DType::kI32;
template <>
inline constexpr DType dtype_of<int8_t> = DType::kI8;

}  // namespace orthant
