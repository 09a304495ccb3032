// SPDX-License-Identifier: Apache-2.0
// The AMX kernel on a tile unit written in C++, so that processors without tile registers check its
// packing, blocking and edges too.  Only the eight tile instructions themselves stay unproven.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "tensor/cpu/isa.h"
#include "tests/tensor/gemm_checks.h"

// From here on the vector parts of the kernel are compiled for AVX-512.
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma,avx2,bmi2,f16c")
#define ORTHANT_ISA isa_emulated_amx
#include "tensor/cpu/gemm/amx_block.h"

namespace orthant::cpu::ORTHANT_ISA {

// TDPBF16PS as Intel's manual has it: the products of even and of odd k are summed apart in
// ascending order, and their sum is added to the tile.
struct EmulatedTiles {
  struct Tile {
    uint8_t bytes[16][64];
  };
  static thread_local Tile tiles[8];

  static void begin() { std::memset(tiles, 0xFF, sizeof(tiles)); }  // NaN until written
  static void end() {}
  static void zero_sums() { std::memset(tiles, 0, 4 * sizeof(Tile)); }
  template <int kRegister>
  static void load(const void* p, int64_t row_bytes) {
    for (int i = 0; i < 16; ++i) {
      std::memcpy(tiles[kRegister].bytes[i], static_cast<const char*>(p) + i * row_bytes, 64);
    }
  }
  template <int kRegister>
  static void load_streamed(const void* p, int64_t row_bytes) {
    load<kRegister>(p, row_bytes);
  }
  template <int kRegister>
  static void store(void* p, int64_t row_bytes) {
    for (int i = 0; i < 16; ++i) {
      std::memcpy(static_cast<char*>(p) + i * row_bytes, tiles[kRegister].bytes[i], 64);
    }
  }
  static float widen(uint32_t half) { return std::bit_cast<float>(half << 16); }
  template <int kSum, int kA, int kB>
  static void multiply() {
    uint32_t a[16][16], b[16][16];
    float sums[16][16];
    std::memcpy(a, &tiles[kA], sizeof(a));
    std::memcpy(b, &tiles[kB], sizeof(b));
    std::memcpy(sums, &tiles[kSum], sizeof(sums));
    for (int m = 0; m < 16; ++m) {
      float even[16] = {}, odd[16] = {};
      for (int k = 0; k < 16; ++k) {
        for (int n = 0; n < 16; ++n) {
          even[n] += widen(a[m][k] & 0xFFFF) * widen(b[k][n] & 0xFFFF);
          odd[n] += widen(a[m][k] >> 16) * widen(b[k][n] >> 16);
        }
      }
      for (int n = 0; n < 16; ++n) sums[m][n] += even[n] + odd[n];
    }
    std::memcpy(&tiles[kSum], sums, sizeof(sums));
  }
};

thread_local EmulatedTiles::Tile EmulatedTiles::tiles[8];

constexpr GemmKernel kEmulatedKernel = make_tile_kernel<EmulatedTiles>();

}  // namespace orthant::cpu::ORTHANT_ISA
#pragma GCC pop_options

namespace orthant::testing {
namespace {

class AmxEmulation : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cpu::detected_isa() < cpu::Isa::kAvx512Bf16) {
      GTEST_SKIP() << "the vector parts of the kernel need AVX-512 with bf16";
    }
  }
  const cpu::GemmKernel& kernel_ = cpu::isa_emulated_amx::kEmulatedKernel;
};

TEST_F(AmxEmulation, MatchesDoublePrecisionInEveryForm) { check_all_forms(kernel_, 9); }

TEST_F(AmxEmulation, BitsDependOnRowColumnAndKAlone) {
  check_bits(kernel_, 37, 250, 99);
  check_bits(kernel_, 13, 65, 3333);
}

TEST_F(AmxEmulation, NonFiniteValuesStayInTheirRowAndColumn) { check_non_finite(kernel_); }

TEST_F(AmxEmulation, GroupedProductsEqualSingleOnes) { check_grouped(kernel_); }

TEST_F(AmxEmulation, LongProductsKeepUnfinishedSums) {
  // Several steps of depth in one sweep over several row blocks, and several passes over k.
  check_product(kernel_, DType::kF32, 97, 70, 2600, {.packed = true}, 1);
  check_product(kernel_, DType::kBF16, 97, 70, 4100, {.trans_a = true}, 2);
}

}  // namespace
}  // namespace orthant::testing
