// SPDX-License-Identifier: Apache-2.0
// Elements of matrices that are held in few bits.  Those of a block of NF4 are looked up in a table
// of 16 products, so that each is one product, rounded once, at every level.
#include "tensor/code_books.h"
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

constexpr Nf4Levels kLevels;
constexpr DynamicMap kDynamicMap;

// In the type that they are multiplied in.
template <class T>
struct WideLevels {
  alignas(64) T values[16] = {};
  constexpr WideLevels() {
    for (int i = 0; i < 16; ++i) values[i] = static_cast<T>(kLevels.values[i]);
  }
};
template <class T>
constexpr WideLevels<T> kWideLevels;

int code_at(const uint8_t* bytes, int64_t column) {
  const int byte = bytes[column / 2];
  return column % 2 == 0 ? byte >> 4 : byte & 15;
}

#ifdef __AVX512F__
// 32 codes in 16 bytes, in order.
__m256i codes_of(const uint8_t* bytes) {
  const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  const __m128i mask = _mm_set1_epi8(15);
  const __m128i upper = _mm_and_si128(_mm_srli_epi16(both, 4), mask);
  const __m128i lower = _mm_and_si128(both, mask);
  return _mm256_set_m128i(_mm_unpackhi_epi8(upper, lower), _mm_unpacklo_epi8(upper, lower));
}
constexpr int64_t kTogether = 32;
void look_up(const bf16* table, const uint8_t* bytes, bf16* y) {
  const __m512i entries =
      _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(table)));
  const __m512i index = _mm512_maskz_cvtepu8_epi16(0xFFFFFFFF, codes_of(bytes));
  _mm512_storeu_si512(y, _mm512_maskz_permutexvar_epi16(0xFFFFFFFF, index, entries));
}
void look_up(const float* table, const uint8_t* bytes, float* y) {
  const __m512 entries = _mm512_loadu_ps(table);
  const __m256i codes = codes_of(bytes);
  const __m512i low = _mm512_maskz_cvtepu8_epi32(kAllLanes, _mm256_castsi256_si128(codes));
  const __m512i high = _mm512_maskz_cvtepu8_epi32(kAllLanes, _mm256_extracti128_si256(codes, 1));
  _mm512_storeu_ps(y, _mm512_maskz_permutexvar_ps(kAllLanes, low, entries));
  _mm512_storeu_ps(y + 16, _mm512_maskz_permutexvar_ps(kAllLanes, high, entries));
}
#else
constexpr int64_t kTogether = 2;
template <class M>
void look_up(const M* table, const uint8_t* bytes, M* y) {
  y[0] = table[*bytes >> 4];
  y[1] = table[*bytes & 15];
}
#endif
#ifdef __AVX512F__
void look_up(const double* table, const uint8_t* bytes, double* y) {
  for (int64_t i = 0; i < kTogether; ++i) y[i] = table[code_at(bytes, i)];
}
#endif

// Columns [begin, end) of one block; bytes begin with column 0.
template <class M>
void dequantize_block(double largest, const uint8_t* bytes, int64_t begin, int64_t end, M* y) {
  alignas(64) M table[16];
  using T = Wide<M>;
  // The largest of a block is a float.
  const Vec<T> factor = splat(static_cast<T>(static_cast<float>(largest)));
  for (int i = 0; i < 16; i += kLanes<T>)
    store(table + i, load(kWideLevels<T>.values + i) * factor);
  int64_t c = begin;
  if (c % 2 != 0 && c < end) *y++ = table[code_at(bytes, c++)];
  for (; c + kTogether <= end; c += kTogether, y += kTogether) look_up(table, bytes + c / 2, y);
  for (; c < end; ++c) *y++ = table[code_at(bytes, c)];
}

template <class M>
void dequantize_nf4(const DequantizeArgs& args) {
  const Rows<uint8_t> codes = rows_of<uint8_t>(args.codes), scales = rows_of<uint8_t>(args.scales);
  const auto* nested = static_cast<const float*>(args.nested.data);
  const Rows<M> y = rows_of<M>(args.y);
  const int64_t first = args.first_column, first_block = first / kNf4Block;
  for_rows(y.rows, y.cols, [&](int64_t row) {
    for (int64_t c = first; c < first + y.cols;) {
      const int64_t block = c / kNf4Block, end = min_of(first + y.cols, (block + 1) * kNf4Block);
      const int64_t group = ((args.first_row + row) * args.row_blocks + block) / kNf4Nested;
      // In double the product is exact and the sum is rounded once, fused or not.
      const double largest =
          static_cast<double>(kDynamicMap.values[scales[row][block - first_block]]) *
              static_cast<double>(nested[1 + group]) +
          static_cast<double>(nested[0]);
      const int64_t origin = first / 2 * 2;  // the column of the first byte
      dequantize_block(largest, codes[row], c - origin, end - origin, y[row] + (c - first));
      c = end;
    }
  });
}

template <class M>
void dequantize_int8(const DequantizeArgs& args) {
  const Rows<int8_t> codes = rows_of<int8_t>(args.codes);
  const auto* scales = static_cast<const float*>(args.scales.data);
  const Rows<M> y = rows_of<M>(args.y);
  for_rows(y.rows, y.cols, [&](int64_t row) {
    const auto scale = static_cast<Wide<M>>(scales[row]);
    const int8_t* from = codes[row];
    M* to = y[row];
#pragma omp simd
    for (int64_t c = 0; c < y.cols; ++c) narrow(static_cast<Wide<M>>(from[c]) * scale, to + c);
  });
}

int dequantize(const BackendCall* call, const DequantizeArgs* args) {
  return with_dtype(call, "dequantize", args->y.dtype, [&]<class M>(M) {
    if (args->format == Quantization::kNf4) {
      dequantize_nf4<M>(*args);
    } else {
      dequantize_int8<M>(*args);
    }
    return 0;
  });
}

}  // namespace

void fill_dequantize(Backend& table) { table.dequantize = dequantize; }

}  // namespace orthant::cpu::ORTHANT_ISA
