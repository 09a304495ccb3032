// SPDX-License-Identifier: Apache-2.0
// Packing with AVX-512, for the levels that have it.
//
// A unit is what one lane multiplies: an element, or a pair of bf16 that are neighbours in k.
// Where k is contiguous, 16 rows are read and transposed as squares of units; else rows of k are
// read and, for pairs, interleaved.  Masks keep loads inside the source: nothing past its end is
// touched, and what is missing reads as zero.
#pragma once

// GCC 12 sees its own intrinsics' undefined operands as uninitialised (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <cstdint>

#include "tensor/cpu/gemm/kernels.h"

namespace orthant::cpu::ORTHANT_ISA {

inline uint32_t low_bits(int64_t count) {
  if (count <= 0) return 0;
  return count >= 32 ? 0xFFFFFFFFu : (uint32_t{1} << count) - 1u;
}

// Rows to columns, in place: 16 x 16 units of 4 bytes.
inline void transpose_16x16(__m512i* r) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xDD);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xDD);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xDD);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xDD);
  }
}

// 8 x 8 units of 8 bytes.
inline void transpose_8x8(__m512i* r) {
  __m512i t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_epi64(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi64(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    r[i] = _mm512_shuffle_i64x2(t[i], t[i + 2], 0x88);
    r[i + 2] = _mm512_shuffle_i64x2(t[i], t[i + 2], 0xDD);
    r[i + 4] = _mm512_shuffle_i64x2(t[i + 4], t[i + 6], 0x88);
    r[i + 6] = _mm512_shuffle_i64x2(t[i + 4], t[i + 6], 0xDD);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i64x2(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i64x2(r[i], r[i + 4], 0xDD);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}

struct F32Units {
  using In = float;
  static constexpr int kPerUnit = 1, kLanes = 16, kUnitBytes = 4;
  // Units along k of one row; k_left elements exist.
  static __m512i load_along(const In* src, int64_t k_left) {
    return _mm512_maskz_loadu_epi32(static_cast<__mmask16>(low_bits(k_left)), src);
  }
  // The same unit of neighbouring rows.
  static __m512i load_across(const In* src, int64_t, int64_t count, int64_t) {
    return load_along(src, count);
  }
  static void transpose(__m512i* r) { transpose_16x16(r); }
};

struct F64Units {
  using In = double;
  static constexpr int kPerUnit = 1, kLanes = 8, kUnitBytes = 8;
  static __m512i load_along(const In* src, int64_t k_left) {
    return _mm512_maskz_loadu_epi64(static_cast<__mmask8>(low_bits(k_left)), src);
  }
  static __m512i load_across(const In* src, int64_t, int64_t count, int64_t) {
    return load_along(src, count);
  }
  static void transpose(__m512i* r) { transpose_8x8(r); }
};

// bf16 widened to f32.
struct WidenedUnits : F32Units {
  using In = uint16_t;
  static __m512i load_along(const In* src, int64_t k_left) {
    const __m256i v = _mm256_maskz_loadu_epi16(static_cast<__mmask16>(low_bits(k_left)), src);
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16);
  }
  static __m512i load_across(const In* src, int64_t, int64_t count, int64_t) {
    return load_along(src, count);
  }
};

// Two bf16, the earlier k in the lower half.
struct PairUnits : F32Units {
  using In = uint16_t;
  static constexpr int kPerUnit = 2;
  static __m512i load_along(const In* src, int64_t k_left) {
    return _mm512_maskz_loadu_epi16(low_bits(k_left), src);
  }
  static __m512i load_across(const In* src, int64_t ld, int64_t count, int64_t k_left) {
    const auto mask = static_cast<__mmask16>(low_bits(count));
    const __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, src));
    if (k_left < 2) return even;
    const __m512i odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, src + ld));
    return _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
  }
};

// Reads a square of kLanes rows (of `count` left) and kLanes units (k_left elements left): vector
// i holds row i along k.  Both are compiled with and without edges: without, nothing is tested or
// masked.
template <class Units, bool kWhole>
[[gnu::always_inline]] inline void load_square_along(const typename Units::In* src, int64_t ld,
                                                     int64_t count, int64_t k_left, __m512i* r) {
#pragma GCC unroll 16
  for (int i = 0; i < Units::kLanes; ++i) {
    if constexpr (kWhole) {
      r[i] = Units::load_along(src + i * ld, Units::kLanes * Units::kPerUnit);
    } else {
      r[i] = i < count ? Units::load_along(src + i * ld, k_left) : _mm512_setzero_si512();
    }
  }
}

// The same from a source whose rows run across: vector i holds unit i of all rows.
template <class Units, bool kWhole>
[[gnu::always_inline]] inline void load_square_across(const typename Units::In* src, int64_t ld,
                                                      int64_t count, int64_t k_left, __m512i* r) {
#pragma GCC unroll 16
  for (int i = 0; i < Units::kLanes; ++i) {
    const int64_t k = int64_t{i} * Units::kPerUnit;
    if constexpr (kWhole) {
      r[i] = Units::load_across(src + k * ld, ld, Units::kLanes, Units::kPerUnit);
    } else {
      r[i] = k < k_left ? Units::load_across(src + k * ld, ld, count, k_left - k)
                        : _mm512_setzero_si512();
    }
  }
}

// One square of units to dst, whose rows of units are unit_bytes apart.
template <class Units, bool kWhole>
[[gnu::always_inline]] inline void pack_square(const typename Units::In* src, int64_t ld,
                                               bool along, int64_t count, int64_t k_left, char* dst,
                                               int64_t unit_bytes) {
  __m512i r[Units::kLanes];
  if (along) {
    load_square_along<Units, kWhole>(src, ld, count, k_left, r);
    Units::transpose(r);
  } else {
    load_square_across<Units, kWhole>(src, ld, count, k_left, r);
  }
#pragma GCC unroll 16
  for (int i = 0; i < Units::kLanes; ++i) {
    if (kWhole || i * Units::kPerUnit < k_left) _mm512_storeu_si512(dst + i * unit_bytes, r[i]);
  }
}

// [count / step][units][width]: what register blocks with broadcasts read, on both sides.  The
// width is a multiple of kLanes: whole vectors are stored (masked stores are slow).
template <class Units>
struct Interleaver {
  using In = typename Units::In;
  static constexpr int64_t kLanes = Units::kLanes, kSquare = kLanes * Units::kPerUnit;

  explicit Interleaver(const GemmPack& job)
      : job(job),
        unit_bytes(job.width * Units::kUnitBytes),
        block_bytes((job.k + Units::kPerUnit - 1) / Units::kPerUnit * unit_bytes) {}

  // kSquare elements from k on, of the block that starts at row `first`.
  void pack(int64_t first, int64_t k) const {
    const int64_t k_left = job.k - k;
    char* dst = static_cast<char*>(job.dst) + first / job.step * block_bytes +
                k / Units::kPerUnit * unit_bytes;
    for (int64_t lane = 0; lane < job.width; lane += kLanes, dst += kLanes * Units::kUnitBytes) {
      const int64_t row = first + lane, count = job.count - row;
      const In* from = static_cast<const In*>(job.src) +
                       (job.k_contiguous ? row * job.ld + k : k * job.ld + row);
      if (count >= kLanes && k_left >= kSquare) {
        pack_square<Units, true>(from, job.ld, job.k_contiguous, count, k_left, dst, unit_bytes);
      } else {
        pack_square<Units, false>(from, job.ld, job.k_contiguous, count, k_left, dst, unit_bytes);
      }
    }
  }

  const GemmPack& job;
  const int64_t unit_bytes, block_bytes;
};

template <class Units>
void pack_interleaved(const GemmPack& job) {
  const Interleaver<Units> interleaver(job);
  constexpr int64_t kSquare = Interleaver<Units>::kSquare;
  if (job.k_contiguous) {
    for (int64_t first = 0; first < job.count; first += job.step) {
      for (int64_t k = 0; k < job.k; k += kSquare) interleaver.pack(first, k);
    }
  } else {
    // Squares side by side, so that the lines of their rows of k are used up while in L1.
    for (int64_t k = 0; k < job.k; k += kSquare) {
      for (int64_t first = 0; first < job.count; first += job.step) interleaver.pack(first, k);
    }
  }
}

}  // namespace orthant::cpu::ORTHANT_ISA
