// SPDX-License-Identifier: Apache-2.0
// Register-block operations on pairs of bf16, for the levels with vdpbf16ps.
#pragma once

#include "tensor/cpu/gemm/register_block.h"

namespace orthant::cpu::ORTHANT_ISA {

struct PairBlock : F32Block {
  using Unit = uint32_t;
  static constexpr int kPerUnit = 2;
  static Vec load(const Unit* p) { return _mm512_loadu_ps(p); }
  // Two neighbours of a bf16 row, which may start at any even address.
  static Vec broadcast(const char* p) {
    int pair;
    __builtin_memcpy(&pair, p, sizeof(pair));
    return _mm512_castsi512_ps(_mm512_set1_epi32(pair));
  }
  static Vec broadcast_half(const char* p) {
    uint16_t half;
    __builtin_memcpy(&half, p, sizeof(half));
    return _mm512_castsi512_ps(_mm512_set1_epi32(half));
  }
  static Vec multiply_add(Vec a, Vec b, Vec c) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  static __m256i round_to_bf16(Vec v) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)); }
};

}  // namespace orthant::cpu::ORTHANT_ISA
