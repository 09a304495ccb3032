// SPDX-License-Identifier: Apache-2.0
// Vectors of the level this file is compiled for, through GCC's vector extension: loads and stores
// that convert bf16, reductions in a fixed order, exp.
#pragma once

#include <cstdint>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "tensor/dtype.h"

namespace orthant::cpu::ORTHANT_ISA {

#ifdef __AVX512F__
inline constexpr int kVectorBytes = 64;
inline constexpr __mmask16 kAllLanes = 0xFFFF;  // unmasked intrinsics raise a warning in GCC 12
#else
inline constexpr int kVectorBytes = 16;
#endif

template <class M>
struct WideOf {
  using type = float;
};
template <>
struct WideOf<double> {
  using type = double;
};
// What elements of type M are computed in.
template <class M>
using Wide = typename WideOf<M>::type;

template <class T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
struct VecOf;
template <>
struct VecOf<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
  typedef float unaligned __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
  typedef int32_t integer __attribute__((vector_size(kVectorBytes)));
  typedef uint32_t bits __attribute__((vector_size(kVectorBytes)));
  typedef uint16_t halves __attribute__((vector_size(kVectorBytes / 2)));
  typedef uint16_t halves_unaligned
      __attribute__((vector_size(kVectorBytes / 2), aligned(2), may_alias));
};
template <>
struct VecOf<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
  typedef double unaligned __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
  typedef int64_t integer __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename VecOf<T>::type;

// One element to and from the type it is computed in.
inline double widen(double x) { return x; }
inline float widen(float x) { return x; }
inline float widen(bf16 x) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16);
}
inline void narrow(double x, double* y) { *y = x; }
inline void narrow(double x, float* y) { *y = static_cast<float>(x); }
inline void narrow(float x, double* y) { *y = x; }
inline void narrow(float x, float* y) { *y = x; }
inline void narrow(float x, bf16* y) {
  const uint32_t u = __builtin_bit_cast(uint32_t, x);
  const uint32_t rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
  y->bits = static_cast<uint16_t>((u & 0x7FFFFFFFu) > 0x7F800000u ? ((u >> 16) | 0x40u) : rounded);
}
inline void narrow(double x, bf16* y) { narrow(static_cast<float>(x), y); }

inline Vec<double> load(const double* p) {
  return *reinterpret_cast<const VecOf<double>::unaligned*>(p);
}
inline Vec<float> load(const float* p) {
  return *reinterpret_cast<const VecOf<float>::unaligned*>(p);
}
inline Vec<float> load(const bf16* p) {
#ifdef __AVX512F__
  const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m512i widened = _mm512_maskz_cvtepu16_epi32(kAllLanes, h);
  return __builtin_bit_cast(Vec<float>, __builtin_bit_cast(VecOf<float>::bits, widened) << 16);
#else
  const VecOf<float>::halves h = *reinterpret_cast<const VecOf<float>::halves_unaligned*>(p);
  return __builtin_bit_cast(Vec<float>, __builtin_convertvector(h, VecOf<float>::bits) << 16);
#endif
}
inline void store(double* p, Vec<double> x) { *reinterpret_cast<VecOf<double>::unaligned*>(p) = x; }
inline void store(float* p, Vec<float> x) { *reinterpret_cast<VecOf<float>::unaligned*>(p) = x; }
inline void store(bf16* p, Vec<float> x) {
  using Bits = VecOf<float>::bits;
  const Bits u = __builtin_bit_cast(Bits, x);
  const Bits rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
#ifdef __AVX512F__
  const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  const __m512i quiet = __builtin_bit_cast(__m512i, (u >> 16) | 0x40u);
  const __m512i result =
      _mm512_mask_blend_epi32(is_nan, __builtin_bit_cast(__m512i, rounded), quiet);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_maskz_cvtepi32_epi16(kAllLanes, result));
#else
  const Bits result = (u & 0x7FFFFFFFu) > 0x7F800000u ? ((u >> 16) | 0x40u) : rounded;
  *reinterpret_cast<VecOf<float>::halves_unaligned*>(p) =
      __builtin_convertvector(result, VecOf<float>::halves);
#endif
}

// The first `count` lanes; the others load as 0.
template <class M>
inline Vec<Wide<M>> load(const M* p, int64_t count) {
  if (count == kLanes<Wide<M>>) return load(p);
  Vec<Wide<M>> x = {};
  for (int lane = 0; lane < static_cast<int>(count); ++lane) x[lane] = widen(p[lane]);
  return x;
}
template <class M>
inline void store(M* p, Vec<Wide<M>> x, int64_t count) {
  if (count == kLanes<Wide<M>>) return store(p, x);
  for (int lane = 0; lane < static_cast<int>(count); ++lane) narrow(x[lane], p + lane);
}

template <class T>
inline Vec<T> splat(T x) {
  return x - Vec<T>{};
}
template <class T>
inline Vec<T> larger(Vec<T> a, Vec<T> b) {
  return a > b ? a : b;
}
template <class T>
inline typename VecOf<T>::integer lane_index() {
  typename VecOf<T>::integer index = {};
  for (int lane = 0; lane < kLanes<T>; ++lane) index[lane] = lane;
  return index;
}
// x in the first `count` lanes, `other` in the rest.
template <class T>
inline Vec<T> first_lanes(Vec<T> x, int64_t count, T other) {
  typename VecOf<T>::integer limit = {};
  limit += static_cast<decltype(limit[0] + 0)>(count);
  return lane_index<T>() < limit ? x : splat<T>(other);
}
// x in lanes [begin, end), `other` in the rest.
template <class T>
inline Vec<T> lanes_between(Vec<T> x, int64_t begin, int64_t end, T other) {
  typename VecOf<T>::integer low = {};
  low += static_cast<decltype(low[0] + 0)>(begin);
  return lane_index<T>() < low ? splat<T>(other) : first_lanes<T>(x, end, other);
}
template <class T>
inline T sum_lanes(Vec<T> x) {
  for (int step = kLanes<T> / 2; step > 0; step /= 2)
    x += __builtin_shuffle(x, lane_index<T>() ^ step);
  return x[0];
}
template <class T>
inline T max_lanes(Vec<T> x) {
  for (int step = kLanes<T> / 2; step > 0; step /= 2)
    x = larger<T>(x, __builtin_shuffle(x, lane_index<T>() ^ step));
  return x[0];
}

// Transposes kLanes x kLanes elements: lane j of rows[i] and lane i of rows[j] change places.
template <class T>
inline void transpose(Vec<T> (&rows)[kLanes<T>]) {
  constexpr int kL = kLanes<T>;
  const auto lane = lane_index<T>();
#pragma GCC unroll 4
  for (int step = 1; step < kL; step *= 2) {
    const auto upper = (lane & step) != 0;
    const auto even = upper ? lane - step + kL : lane;
    const auto odd = upper ? lane + kL : lane + step;
#pragma GCC unroll 16
    for (int i = 0; i < kL; ++i) {
      if (i & step) continue;
      const Vec<T> a = rows[i], b = rows[i + step];
      rows[i] = __builtin_shuffle(a, b, even);
      rows[i + step] = __builtin_shuffle(a, b, odd);
    }
  }
}

// Calls f(i, count) for consecutive vectors of [0, n); count < kLanes for the last one only.
template <class T, class F>
inline void for_each_vec(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) f(i, int64_t{kLanes<T>});
  if (i < n) f(i, n - i);
}
// The sum of term(i, count) over the vectors of [0, n), in 4 * kLanes partial sums.  Unused lanes
// of a term must be 0.
template <class T, class F>
inline T sum_of(int64_t n, F term) {
  constexpr int64_t kL = kLanes<T>;
  Vec<T> sum0 = {}, sum1 = {}, sum2 = {}, sum3 = {};
  int64_t i = 0;
  for (; i + 4 * kL <= n; i += 4 * kL) {
    sum0 += term(i, kL);
    sum1 += term(i + kL, kL);
    sum2 += term(i + 2 * kL, kL);
    sum3 += term(i + 3 * kL, kL);
  }
  for (; i + kL <= n; i += kL) sum0 += term(i, kL);
  if (i < n) sum1 += term(i, n - i);
  return sum_lanes<T>((sum0 + sum1) + (sum2 + sum3));
}

// x * 2^n for whole n in [-300, 300].
inline Vec<float> scale_by_power(Vec<float> x, Vec<float> n) {
#ifdef __AVX512F__
  return _mm512_maskz_scalef_ps(kAllLanes, x, n);
#else
  // In two factors, so that neither leaves the range of normal numbers.
  using Int = VecOf<float>::integer;
  const Int whole = __builtin_convertvector(n, Int), half = whole >> 1;
  x = x * __builtin_bit_cast(Vec<float>, (half + 127) << 23);
  return x * __builtin_bit_cast(Vec<float>, (whole - half + 127) << 23);
#endif
}
// NaN stays NaN.
inline Vec<float> clamp(Vec<float> x, float low, float high) {
#ifdef __AVX512F__
  x = _mm512_maskz_max_ps(kAllLanes, splat(low), x);
  return _mm512_maskz_min_ps(kAllLanes, splat(high), x);
#else
  x = x < low ? splat(low) : x;
  return x > high ? splat(high) : x;
#endif
}

// exp in float: branch-free, below 2 ulp; 0 at -inf and below -104, subnormals kept, inf above
// 88.73, NaN stays NaN.  Coefficients: S. Moshier, Cephes, expf.c.
inline Vec<float> exp_of(Vec<float> x) {
  x = clamp(x, -104.0f, 89.0f);
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Vec<float> k = (x * 1.44269504088896341f + magic) - magic;
  Vec<float> r = x - k * 0.693359375f;
  r = r + k * 2.12194440e-4f;
  Vec<float> y = r * 1.9875691500e-4f + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r + 1.0f;
  y = y * r + 1.0f;
  return scale_by_power(y, k);
}
inline Vec<double> exp_of(Vec<double> x) {
  for (int lane = 0; lane < kLanes<double>; ++lane) x[lane] = __builtin_exp(x[lane]);
  return x;
}

}  // namespace orthant::cpu::ORTHANT_ISA
