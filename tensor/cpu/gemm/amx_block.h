// SPDX-License-Identifier: Apache-2.0
// bf16 products on 32 x 32 blocks of C in four tile registers.
//
// Tiles is the tile unit: the processor's (gemm_amx.cpp) or one written in plain C++ with the same
// order of additions (tests).  Packed A and B hold whole tiles of zeros-filled rows, columns and
// k, so that every block runs the same instructions; only what is written to C is cut.
//   A [m/32][k/32][2 x 16 rows][32 k]       B [n/32][k/32][2 x 16 columns][16 pairs of k][16 x 2]
#pragma once

#include <cstdint>

#include "tensor/cpu/gemm/kernels.h"
#include "tensor/cpu/gemm/pack_avx512.h"
#include "tensor/cpu/gemm/pair_block.h"

namespace orthant::cpu::ORTHANT_ISA {

inline constexpr int kTile = 16;            // rows of a tile, and floats of a row of it
inline constexpr int kTileBlock = 32;       // rows and columns of a block, k of a step
inline constexpr int64_t kTileElems = 512;  // bf16 in a tile
// A panel of 32 columns of this depth takes 32 KB: it stays in L1 while A streams past it.
inline constexpr int64_t kTileDepth = 512;

// kUnitsDown: a tile row holds one pair of k for 16 columns (B); else 16 pairs of one row (A).
template <bool kUnitsDown>
void pack_tiles(const GemmPack& job) {
  const uint16_t* src = static_cast<const uint16_t*>(job.src);
  uint16_t* dst = static_cast<uint16_t*>(job.dst);
  for (int64_t first = 0; first < job.count; first += kTileBlock) {
    for (int64_t k = 0; k < job.k; k += kTileBlock) {
      for (int64_t row = first; row < first + kTileBlock; row += kTile, dst += kTileElems) {
        __m512i r[kTile];
        const int64_t left = job.count - row;
        if (left <= 0) {
          for (__m512i& v : r) v = _mm512_setzero_si512();
        } else if (job.k_contiguous) {
          load_square_along<PairUnits, false>(src + row * job.ld + k, job.ld, left, job.k - k, r);
        } else {
          load_square_across<PairUnits, false>(src + k * job.ld + row, job.ld, left, job.k - k, r);
        }
        if (job.k_contiguous == kUnitsDown) transpose_16x16(r);
        for (int i = 0; i < kTile; ++i) _mm512_storeu_si512(dst + i * kTileBlock, r[i]);
      }
    }
  }
}

// Finished sums of a block on their way to C, a few rows at a time between the tile instructions
// of the next block: the vector units are idle there.
struct TileWriter {
  alignas(64) float sums[2][kTileBlock * kTileBlock];
  int filling = 0;
  char* c = nullptr;
  int64_t row = 0, rows = 0;

  void write_rows(const GemmSweep& job, int64_t count) {
    const float* source = sums[1 - filling];
    for (; count > 0 && row < rows; --count, ++row) {
      const __m512 v0 = _mm512_load_ps(source + row * kTileBlock);
      const __m512 v1 = _mm512_load_ps(source + row * kTileBlock + kTile);
      if (job.c_bf16) {
        uint16_t* p = reinterpret_cast<uint16_t*>(c) + row * job.ldc;
        write_bf16<PairBlock>(p, v0, job.cols, job.accumulate);
        if (job.cols > kTile)
          write_bf16<PairBlock>(p + kTile, v1, job.cols - kTile, job.accumulate);
      } else {
        float* p = reinterpret_cast<float*>(c) + row * job.ldc;
        PairBlock::write(p, v0, job.cols, job.accumulate);
        if (job.cols > kTile) PairBlock::write(p + kTile, v1, job.cols - kTile, job.accumulate);
      }
    }
  }
  // The buffer that was being filled is complete.
  void submit(const GemmSweep& job, char* block_c, int64_t block_rows) {
    write_rows(job, kTileBlock);
    filling = 1 - filling;
    c = block_c;
    row = 0;
    rows = block_rows;
    const int64_t row_bytes = job.ldc * (job.c_bf16 ? 2 : 4);
    for (int64_t i = 0; i < rows; ++i) {
      _mm_prefetch(c + i * row_bytes, _MM_HINT_T0);
      if (!job.c_bf16) _mm_prefetch(c + i * row_bytes + 64, _MM_HINT_T0);
    }
  }
};

// Tile registers: 0 to 3 hold C (two row tiles by two column tiles), 4 and 5 A, 6 and 7 B.
template <class Tiles, bool kTwoRowTiles>
void multiply_tiles(const GemmSweep& job, TileWriter& writer, const uint16_t* a, const uint16_t* b,
                    const uint16_t* ahead, int64_t depth) {
  constexpr int64_t kTileRow = 64;  // bytes
  for (int64_t k = 0; k < depth; k += kTileBlock) {
    Tiles::template load<6>(b, kTileRow);
    Tiles::template load_streamed<4>(a, kTileRow);
    Tiles::template multiply<0, 4, 6>();
    Tiles::template load<7>(b + kTileElems, kTileRow);
    Tiles::template multiply<1, 4, 7>();
    if constexpr (kTwoRowTiles) {
      Tiles::template load_streamed<5>(a + kTileElems, kTileRow);
      Tiles::template multiply<2, 5, 6>();
      Tiles::template multiply<3, 5, 7>();
    }
    a += 2 * kTileElems;
    b += 2 * kTileElems;
    // The first block fetches the next panel, so that its first use does not wait for L3.
    if (ahead != nullptr) {
      for (int64_t line = 0; line < 2 * kTileElems; line += 32) {
        _mm_prefetch(reinterpret_cast<const char*>(ahead + line), _MM_HINT_T1);
      }
      ahead += 2 * kTileElems;
    }
    writer.write_rows(job, 2);
  }
}

template <class Tiles>
void load_sums(const float* tile) {
  constexpr int64_t kRow = kTileBlock * 4;
  Tiles::template load<0>(tile, kRow);
  Tiles::template load<1>(tile + kTile, kRow);
  Tiles::template load<2>(tile + kTile * kTileBlock, kRow);
  Tiles::template load<3>(tile + kTile * kTileBlock + kTile, kRow);
}

template <class Tiles>
void store_sums(float* tile) {
  constexpr int64_t kRow = kTileBlock * 4;
  Tiles::template store<0>(tile, kRow);
  Tiles::template store<1>(tile + kTile, kRow);
  Tiles::template store<2>(tile + kTile * kTileBlock, kRow);
  Tiles::template store<3>(tile + kTile * kTileBlock + kTile, kRow);
}

template <class Tiles>
void sweep_tiles(const GemmSweep& job) {
  const int64_t row_bytes = job.ldc * (job.c_bf16 ? 2 : 4);
  TileWriter writer;
  Tiles::begin();
  int64_t from = 0;
  do {
    const int64_t depth = job.k - from < kTileDepth ? job.k - from : kTileDepth;
    const bool first = job.first && from == 0, last = job.last && from + depth >= job.k;
    const uint16_t* b = static_cast<const uint16_t*>(job.b) + from * kTileBlock;
    const uint16_t* next_b = static_cast<const uint16_t*>(job.next_b) + from * kTileBlock;
    for (int64_t row = 0; row < job.rows; row += kTileBlock) {
      const uint16_t* ahead = row == 0 && job.next_b != job.b ? next_b : nullptr;
      const int64_t rows = job.rows - row < kTileBlock ? job.rows - row : kTileBlock;
      const uint16_t* a = reinterpret_cast<const uint16_t*>(static_cast<const char*>(job.a) +
                                                            row / kTileBlock * job.a_block_bytes) +
                          from * kTileBlock;
      float* acc = static_cast<float*>(job.acc) + row / kTileBlock * job.acc_stride;
      if (first) {
        Tiles::zero_sums();
      } else {
        load_sums<Tiles>(acc);
      }
      if (rows > kTile) {
        multiply_tiles<Tiles, true>(job, writer, a, b, ahead, depth);
      } else {
        multiply_tiles<Tiles, false>(job, writer, a, b, ahead, depth);
      }
      if (last) {
        store_sums<Tiles>(writer.sums[writer.filling]);
        writer.submit(job, static_cast<char*>(job.c) + row * row_bytes, rows);
      } else {
        store_sums<Tiles>(acc);
      }
    }
    from += depth;
  } while (from < job.k);
  Tiles::end();
  writer.write_rows(job, kTileBlock);
}

template <class Tiles>
constexpr GemmKernel make_tile_kernel() {
  return {.isa = Isa::kAmx,
          .dtype = DType::kBF16,
          .max_height = kTileBlock,
          .fixed_height = true,
          .panel = kTileBlock,
          .k_multiple = kTileBlock,
          .element_bytes = 2,
          .acc_bytes = 4,
          .pack_a = pack_tiles<false>,
          .pack_b = pack_tiles<true>,
          .sweep = sweep_tiles<Tiles>};
}

}  // namespace orthant::cpu::ORTHANT_ISA
