// SPDX-License-Identifier: Apache-2.0
// The AVX-512 register block: up to 12 rows by two vectors of C stay in 24 registers over all of
// k; each unit of k costs two loads of B, a broadcast per row, and two multiply-adds per row.
//
// Fewer rows run the same chain per element with fewer registers; fewer columns are masked when
// stored.  Hence an element's bits do not depend on where in a block it stands.
#pragma once

#include <cstdint>

#include "tensor/cpu/gemm/kernels.h"
#include "tensor/cpu/gemm/pack_avx512.h"

namespace orthant::cpu::ORTHANT_ISA {

inline constexpr int kBlockRows = 12;

struct F32Block {
  using Unit = float;
  using Acc = float;
  using Vec = __m512;
  static constexpr int kLanes = 16, kPerUnit = 1;
  static Vec zero() { return _mm512_setzero_ps(); }
  static Vec load(const Unit* p) { return _mm512_loadu_ps(p); }
  static Vec broadcast(const char* p) { return _mm512_set1_ps(*reinterpret_cast<const float*>(p)); }
  static Vec multiply_add(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  static Vec load_acc(const Acc* p) { return _mm512_loadu_ps(p); }
  static void store_acc(Acc* p, Vec v) { _mm512_storeu_ps(p, v); }
  static void write(Acc* p, Vec v, int64_t count, bool accumulate) {
    if (count >= kLanes) {
      store_acc(p, accumulate ? _mm512_add_ps(load_acc(p), v) : v);
      return;
    }
    const auto mask = static_cast<__mmask16>(low_bits(count));
    if (accumulate) v = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, p), v);
    _mm512_mask_storeu_ps(p, mask, v);
  }
  // To nearest, ties to even; NaN stays NaN.
  static __m256i round_to_bf16(Vec v) {
    const __m512i u = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i kept = _mm512_mask_or_epi32(rounded, nan, u, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16));
  }
};

struct F64Block {
  using Unit = double;
  using Acc = double;
  using Vec = __m512d;
  static constexpr int kLanes = 8, kPerUnit = 1;
  static Vec zero() { return _mm512_setzero_pd(); }
  static Vec load(const Unit* p) { return _mm512_loadu_pd(p); }
  static Vec broadcast(const char* p) {
    return _mm512_set1_pd(*reinterpret_cast<const double*>(p));
  }
  static Vec multiply_add(Vec a, Vec b, Vec c) { return _mm512_fmadd_pd(a, b, c); }
  static Vec load_acc(const Acc* p) { return _mm512_loadu_pd(p); }
  static void store_acc(Acc* p, Vec v) { _mm512_storeu_pd(p, v); }
  static void write(Acc* p, Vec v, int64_t count, bool accumulate) {
    if (count >= kLanes) {
      store_acc(p, accumulate ? _mm512_add_pd(load_acc(p), v) : v);
      return;
    }
    const auto mask = static_cast<__mmask8>(low_bits(count));
    if (accumulate) v = _mm512_add_pd(_mm512_maskz_loadu_pd(mask, p), v);
    _mm512_mask_storeu_pd(p, mask, v);
  }
};

// Both vectors of a row at once: one store of a whole line.
template <class Ops>
void write_bf16_row(uint16_t* p, __m512 v0, __m512 v1) {
  const __m512i low = _mm512_castsi256_si512(Ops::round_to_bf16(v0));
  _mm512_storeu_si512(p, _mm512_inserti64x4(low, Ops::round_to_bf16(v1), 1));
}

template <class Ops>
void write_bf16(uint16_t* p, __m512 v, int64_t count, bool accumulate) {
  const auto mask = static_cast<__mmask16>(low_bits(count));
  if (accumulate) {
    const __m512i c = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p));
    v = _mm512_add_ps(_mm512_castsi512_ps(_mm512_slli_epi32(c, 16)), v);
  }
  const __m256i rounded = Ops::round_to_bf16(v);
  if (count >= 16) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), rounded);
  } else {
    _mm256_mask_storeu_epi16(p, mask, rounded);
  }
}

// ahead: a panel's worth of memory to bring to L2 on the way; c: the block's first element of C;
// acc: its tile of unfinished sums.
template <class Ops, int kRows>
void register_block(const GemmSweep& job, const char* a, const char* ahead, char* c,
                    typename Ops::Acc* acc) {
  using Acc = typename Ops::Acc;
  constexpr int kLanes = Ops::kLanes, kPanel = 2 * kLanes;
  const int64_t row_bytes = job.ldc * (job.c_bf16 ? 2 : int64_t{sizeof(Acc)});
  typename Ops::Vec sum[kRows][2];
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    sum[i][0] = job.first ? Ops::zero() : Ops::load_acc(acc + i * kPanel);
    sum[i][1] = job.first ? Ops::zero() : Ops::load_acc(acc + i * kPanel + kLanes);
    if (job.last) {
      _mm_prefetch(c + i * row_bytes, _MM_HINT_T0);
      if (!job.c_bf16) _mm_prefetch(c + i * row_bytes + 64, _MM_HINT_T0);
    }
  }
  const typename Ops::Unit* b = static_cast<const typename Ops::Unit*>(job.b);
  const int64_t row_step = job.a_row_bytes, unit_step = job.a_unit_bytes;
  // Twelve rows from four addresses and one stride: more would not fit the registers.
  const char* group[4] = {a, a + 3 * row_step, a + 6 * row_step, a + 9 * row_step};
  __asm__("" : "+r"(group[0]), "+r"(group[1]), "+r"(group[2]), "+r"(group[3]));
  const int64_t units = job.k / Ops::kPerUnit;
#pragma GCC unroll 2
  for (int64_t unit = 0; unit < units; ++unit) {
    const typename Ops::Vec b0 = Ops::load(b), b1 = Ops::load(b + kLanes);
    _mm_prefetch(ahead, _MM_HINT_T1);
    _mm_prefetch(ahead + 64, _MM_HINT_T1);
    ahead += 128;
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const typename Ops::Vec x = Ops::broadcast(group[i / 3] + i % 3 * row_step);
      sum[i][0] = Ops::multiply_add(x, b0, sum[i][0]);
      sum[i][1] = Ops::multiply_add(x, b1, sum[i][1]);
    }
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) group[g] += unit_step;
    b += kPanel;
  }
  if constexpr (Ops::kPerUnit == 2) {
    // The last of an odd k: half a pair, of which nothing more may be read.
    if (job.k % 2 != 0) {
      const typename Ops::Vec b0 = Ops::load(b), b1 = Ops::load(b + kLanes);
#pragma GCC unroll 12
      for (int i = 0; i < kRows; ++i) {
        const typename Ops::Vec x = Ops::broadcast_half(group[i / 3] + i % 3 * row_step);
        sum[i][0] = Ops::multiply_add(x, b0, sum[i][0]);
        sum[i][1] = Ops::multiply_add(x, b1, sum[i][1]);
      }
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    if (!job.last) {
      Ops::store_acc(acc + i * kPanel, sum[i][0]);
      Ops::store_acc(acc + i * kPanel + kLanes, sum[i][1]);
      continue;
    }
    char* row = c + i * row_bytes;
    if constexpr (sizeof(Acc) == 4) {
      if (job.c_bf16) {
        uint16_t* p = reinterpret_cast<uint16_t*>(row);
        if (job.cols == kPanel && !job.accumulate) {
          write_bf16_row<Ops>(p, sum[i][0], sum[i][1]);
          continue;
        }
        write_bf16<Ops>(p, sum[i][0], job.cols, job.accumulate);
        if (job.cols > kLanes) {
          write_bf16<Ops>(p + kLanes, sum[i][1], job.cols - kLanes, job.accumulate);
        }
        continue;
      }
    }
    Acc* p = reinterpret_cast<Acc*>(row);
    Ops::write(p, sum[i][0], job.cols, job.accumulate);
    if (job.cols > kLanes) Ops::write(p + kLanes, sum[i][1], job.cols - kLanes, job.accumulate);
  }
}

template <class Ops>
void sweep_blocks(const GemmSweep& job) {
  using Acc = typename Ops::Acc;
  using BlockFunction = void (*)(const GemmSweep&, const char*, const char*, char*, Acc*);
  static constexpr BlockFunction kBlocks[kBlockRows + 1] = {
      nullptr,
      register_block<Ops, 1>,
      register_block<Ops, 2>,
      register_block<Ops, 3>,
      register_block<Ops, 4>,
      register_block<Ops, 5>,
      register_block<Ops, 6>,
      register_block<Ops, 7>,
      register_block<Ops, 8>,
      register_block<Ops, 9>,
      register_block<Ops, 10>,
      register_block<Ops, 11>,
      register_block<Ops, 12>,
  };
  const char* a = static_cast<const char*>(job.a);
  Acc* acc = static_cast<Acc*>(job.acc);
  char* c = static_cast<char*>(job.c);
  const int64_t row_bytes = job.ldc * (job.c_bf16 ? 2 : int64_t{sizeof(Acc)});
  for (int64_t row = 0; row < job.rows; row += job.height) {
    const int64_t rows = job.rows - row < job.height ? job.rows - row : job.height;
    // One row block is enough to fetch the next panel; the others touch what is in L1 anyway.
    const void* ahead = row == 0 ? job.next_b : job.b;
    kBlocks[rows](job, a, static_cast<const char*>(ahead), c + row * row_bytes, acc);
    a += job.a_block_bytes;
    acc += job.acc_stride;
  }
}

}  // namespace orthant::cpu::ORTHANT_ISA
