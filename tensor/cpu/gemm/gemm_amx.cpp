// SPDX-License-Identifier: Apache-2.0
// bf16 with the processor's tile registers.
#include "tensor/cpu/gemm/amx_block.h"
#include "tensor/cpu/gemm/kernels.h"

namespace orthant::cpu::isa_amx {
namespace {

struct TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// The instructions in assembly of our own: GCC 12's intrinsics do not tell the compiler which
// memory they read, so that stores before them may be dropped.
struct HardwareTiles {
  static void begin() {
    alignas(64) static const TileConfig config;
    __asm__ volatile("ldtilecfg (%0)" : : "r"(&config) : "memory");
  }
  static void end() { __asm__ volatile("tilerelease" : : : "memory"); }
  static void zero_sums() {
    __asm__ volatile("tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3"
                     :
                     :);
  }
  template <int kRegister>
  static void load(const void* p, int64_t row_bytes) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2"
                     :
                     : "r"(p), "r"(row_bytes), "i"(kRegister)
                     : "memory");
  }
  // With a hint that keeps the stream from pushing B's panel out of L1.
  template <int kRegister>
  static void load_streamed(const void* p, int64_t row_bytes) {
    __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm%c2"
                     :
                     : "r"(p), "r"(row_bytes), "i"(kRegister)
                     : "memory");
  }
  template <int kRegister>
  static void store(void* p, int64_t row_bytes) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)"
                     :
                     : "r"(p), "r"(row_bytes), "i"(kRegister)
                     : "memory");
  }
  template <int kSum, int kA, int kB>
  static void multiply() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
};

}  // namespace

constinit const GemmKernel gemm_bf16 = make_tile_kernel<HardwareTiles>();

}  // namespace orthant::cpu::isa_amx
