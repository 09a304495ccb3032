// SPDX-License-Identifier: Apache-2.0
// Source of the formulas: the block layouts of ggml (github.com/ggml-org/ggml, src/ggml-common.h,
// and dequantize_row_* of src/ggml-quants.c).  Products of a scale and a code are exact in fp32, so
// each value has one rounding at most, whatever the compiler contracts.
#include "checkpoint/gguf_blocks.h"

#include <array>
#include <cmath>

#include "base/error.h"

namespace orthant {
namespace {

using Bytes = const unsigned char*;

// IEEE half precision, little-endian.
float half_at(Bytes at) {
  const unsigned bits = at[0] | static_cast<unsigned>(at[1]) << 8;
  const unsigned exponent = bits >> 10 & 31, mantissa = bits & 1023;
  float value;
  if (exponent == 31) {
    value = mantissa == 0 ? INFINITY : NAN;
  } else {
    value = std::ldexp(static_cast<float>(exponent == 0 ? mantissa : mantissa | 1024),
                       static_cast<int>(exponent == 0 ? 1 : exponent) - 25);
  }
  return bits >> 15 != 0 ? -value : value;
}

float signed_at(Bytes at) { return static_cast<float>(static_cast<signed char>(*at)); }

constexpr int kSmall = 32, kLarge = 256;  // numbers in a block

// d; 32 nibbles: the low ones are the first half.
void q4_0(Bytes block, float* to) {
  const float d = half_at(block);
  for (int i = 0; i < kSmall / 2; ++i) {
    const int codes = block[2 + i];
    to[i] = d * static_cast<float>((codes & 15) - 8);
    to[i + kSmall / 2] = d * static_cast<float>((codes >> 4) - 8);
  }
}

// d, minimum; nibbles likewise.
void q4_1(Bytes block, float* to) {
  const float d = half_at(block), minimum = half_at(block + 2);
  for (int i = 0; i < kSmall / 2; ++i) {
    const int codes = block[4 + i];
    to[i] = d * static_cast<float>(codes & 15) + minimum;
    to[i + kSmall / 2] = d * static_cast<float>(codes >> 4) + minimum;
  }
}

// d; 32 signed bytes.
void q8_0(Bytes block, float* to) {
  const float d = half_at(block);
  for (int i = 0; i < kSmall; ++i) to[i] = d * signed_at(block + 2 + i);
}

// Scale and minimum, six bits each, of one of the eight parts of a Q4_K block: of the first four
// parts in the low bits of bytes 0 to 3 and 4 to 7; of the others the low four bits are nibbles of
// bytes 8 to 11, and the high two those that the first eight bytes have left.
struct ScaleAndMinimum {
  int scale, minimum;
};
ScaleAndMinimum q4_k_part(Bytes packed, int part) {
  if (part < 4) return {packed[part] & 63, packed[part + 4] & 63};
  const int low = packed[part + 4];
  return {(low & 15) | packed[part - 4] >> 6 << 4, low >> 4 | packed[part] >> 6 << 4};
}

// d, dmin, 12 bytes of scales; of each 32 bytes of codes the low nibbles are one part of 32
// numbers, the high ones the next.
void q4_k(Bytes block, float* to) {
  const float d = half_at(block), d_minimum = half_at(block + 2);
  for (int part = 0; part < 8; ++part) {
    const ScaleAndMinimum p = q4_k_part(block + 4, part);
    const float scale = d * static_cast<float>(p.scale);
    const float minimum = d_minimum * static_cast<float>(p.minimum);
    const Bytes codes = block + 16 + part / 2 * 32;
    for (int i = 0; i < 32; ++i)
      *to++ = scale * static_cast<float>(codes[i] >> part % 2 * 4 & 15) - minimum;
  }
}

// 128 bytes of low nibbles, 64 of the two bits above, 16 signed scales, d.  Of each half of 128
// numbers, quarter q of 32: nibbles of 32 bytes (q % 2), low or high (q / 2); bits 2 q of 32 bytes.
void q6_k(Bytes block, float* to) {
  const float d = half_at(block + 208);
  for (int i = 0; i < kLarge; ++i) {
    const int half = i / 128, quarter = i / 32 % 4, at = i % 32;
    const int low = block[64 * half + 32 * (quarter % 2) + at] >> quarter / 2 * 4 & 15;
    const int high = block[128 + 32 * half + at] >> 2 * quarter & 3;
    to[i] = d * signed_at(block + 192 + i / 16) * static_cast<float>((low | high << 4) - 32);
  }
}

constexpr std::array<GgufFormat, 8> kFormats = {{{0, "F32", 1, 4, DType::kF32, nullptr},
                                                 {1, "F16", 1, 2, DType::kF16, nullptr},
                                                 {30, "BF16", 1, 2, DType::kBF16, nullptr},
                                                 {8, "Q8_0", kSmall, 34, DType::kF32, q8_0},
                                                 {2, "Q4_0", kSmall, 18, DType::kF32, q4_0},
                                                 {3, "Q4_1", kSmall, 20, DType::kF32, q4_1},
                                                 {12, "Q4_K", kLarge, 144, DType::kF32, q4_k},
                                                 {14, "Q6_K", kLarge, 210, DType::kF32, q6_k}}};

struct FormatName {
  uint32_t id;
  const char* name;
};
// Those that are not read.
constexpr FormatName kOthers[] = {
    {6, "Q5_0"},   {7, "Q5_1"},     {9, "Q8_1"},    {10, "Q2_K"},    {11, "Q3_K"},  {13, "Q5_K"},
    {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"},
    {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},      {25, "I16"},   {26, "I32"},
    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},  {34, "TQ1_0"},   {35, "TQ2_0"}, {39, "MXFP4"}};

}  // namespace

const GgufFormat* find_gguf_format(uint32_t id) {
  for (const GgufFormat& format : kFormats)
    if (format.id == id) return &format;
  return nullptr;
}

std::string gguf_format_name(uint32_t id) {
  if (const GgufFormat* format = find_gguf_format(id)) return concat(format->name, " (", id, ")");
  for (const FormatName& other : kOthers)
    if (other.id == id) return concat(other.name, " (", id, ")");
  return std::to_string(id);
}

std::string gguf_formats_text() {
  std::string text;
  for (const GgufFormat& format : kFormats) text += concat(text.empty() ? "" : ", ", format.name);
  return text;
}

void unpack_blocks(const GgufFormat& format, const unsigned char* blocks, int64_t count,
                   float* to) {
  ORTHANT_CHECK(format.unpack, kInternal, format.name, ": has no blocks");
  for (int64_t i = 0; i < count; ++i)
    format.unpack(blocks + i * format.bytes, to + i * format.elems);
}

}  // namespace orthant
