// SPDX-License-Identifier: Apache-2.0
// Products of small tiles in L1, the inner part of attention: C (+)= A B with B row-major, the
// vectors along the columns of C, and A read element by element (so it may be stored transposed).
//
// B may be of a narrower type, and is widened as it is read.
//
// An element of C is one chain of multiply-adds in ascending order of k that starts at 0, or at
// what C holds: its bits depend on its row of A and its column of B alone, however a product is cut
// into calls.
#pragma once

#include <cstdint>

#include "tensor/cpu/kernels/simd.h"

namespace orthant::cpu::ORTHANT_ISA {

#ifdef __AVX512F__
inline constexpr int kTileRows = 4, kTileVectors = 4;  // 16 sums, 4 vectors of B, 1 of A
#else
inline constexpr int kTileRows = 4, kTileVectors = 2;
#endif

// Where element (row, k) of A stands: a[row * row_step + k * k_step].
template <class T>
struct LeftOperand {
  const T* data;
  int64_t row_step, k_step;
};

template <class T, int kRows, int kVectors, class B>
inline void tile_product(int64_t depth, LeftOperand<T> a, const B* b, int64_t ldb, T* c,
                         int64_t ldc, bool accumulate) {
  constexpr int kL = kLanes<T>;
  Vec<T> sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = accumulate ? load(c + r * ldc + v * kL) : Vec<T>{};
  const T* left = a.data;
  for (int64_t k = 0; k < depth; ++k, left += a.k_step, b += ldb) {
    Vec<T> right[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) right[v] = load(b + v * kL);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const T x = left[r * a.row_step];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] += x * right[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) store(c + r * ldc + v * kL, sums[r][v]);
}

template <class T, int kRows, class B>
inline void row_product(int64_t num_vectors, int64_t depth, LeftOperand<T> a, const B* b,
                        int64_t ldb, T* c, int64_t ldc, bool accumulate) {
  constexpr int kL = kLanes<T>;
  while (num_vectors >= kTileVectors) {
    tile_product<T, kRows, kTileVectors>(depth, a, b, ldb, c, ldc, accumulate);
    b += kTileVectors * kL;
    c += kTileVectors * kL;
    num_vectors -= kTileVectors;
  }
  if constexpr (kTileVectors > 2) {
    if (num_vectors >= 2) {
      tile_product<T, kRows, 2>(depth, a, b, ldb, c, ldc, accumulate);
      b += 2 * kL;
      c += 2 * kL;
      num_vectors -= 2;
    }
  }
  if (num_vectors == 1) tile_product<T, kRows, 1>(depth, a, b, ldb, c, ldc, accumulate);
}

// C[rows, num_vectors * kLanes] (+)= A[rows, depth] B.
template <class T, class B>
inline void small_product(int64_t rows, int64_t num_vectors, int64_t depth, LeftOperand<T> a,
                          const B* b, int64_t ldb, T* c, int64_t ldc, bool accumulate) {
  for (; rows >= kTileRows; rows -= kTileRows) {
    row_product<T, kTileRows>(num_vectors, depth, a, b, ldb, c, ldc, accumulate);
    a.data += kTileRows * a.row_step;
    c += kTileRows * ldc;
  }
  if (rows == 3) row_product<T, 3>(num_vectors, depth, a, b, ldb, c, ldc, accumulate);
  if (rows == 2) row_product<T, 2>(num_vectors, depth, a, b, ldb, c, ldc, accumulate);
  if (rows == 1) row_product<T, 1>(num_vectors, depth, a, b, ldb, c, ldc, accumulate);
}

}  // namespace orthant::cpu::ORTHANT_ISA
