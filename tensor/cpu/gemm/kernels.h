// SPDX-License-Identifier: Apache-2.0
// The table that one instruction-set level fills for one element type, and the driver's entries
// that take such a table (internal: tests run levels side by side with them).
//
// Files *_LEVEL.cpp of this folder are compiled with that level's instructions.  They include
// nothing that defines inline functions they could instantiate (standard containers, bf16's
// conversions): the linker keeps one copy for everyone, and it must not be theirs.
#pragma once

#include <cstdint>

#include "tensor/cpu/isa.h"
#include "tensor/dtype.h"

namespace orthant::cpu {

class PackedMatrix;
struct GemmArgs;
struct GroupedGemmArgs;

// Copies `count` rows of op(A), or columns of op(B), each of k elements, into blocks of `step` of
// them; k is filled up with zeros to the kernel's multiple, and each block to `width` slots with
// anything that exists or zeros: a result of such a slot is not used.
struct GemmPack {
  const void* src = nullptr;
  int64_t ld = 0;
  int64_t count = 0, k = 0;
  bool k_contiguous = false;  // the k elements of a row or column lie side by side
  int64_t step = 0, width = 0;
  void* dst = nullptr;
};

// Multiplies row blocks of A, packed or in place, with one packed panel of B.
struct GemmSweep {
  const void* a = nullptr;
  int64_t a_block_bytes = 0;                  // from one row block of A to the next
  int64_t a_row_bytes = 0, a_unit_bytes = 0;  // in a block: to the next row, to the next unit of k
  const void* b = nullptr;
  const void* next_b = nullptr;  // the panel of the next call, to be brought near
  int64_t k = 0;                 // of this call; in packed operands filled up with zeros
  int64_t rows = 0, height = 0;  // rows in all; rows of a block
  int64_t cols = 0;              // columns of C in this panel
  void* c = nullptr;
  int64_t ldc = 0;
  bool c_bf16 = false;  // else C has the accumulator's type
  bool accumulate = false;
  // Unfinished sums, one tile of [max_height, panel] per row block; first: they start at zero,
  // last: they go to C.
  void* acc = nullptr;
  int64_t acc_stride = 0;  // elements between the tiles of neighbouring row blocks
  bool first = true, last = true;
};

struct GemmKernel {
  Isa isa = Isa::kScalar;
  DType dtype = DType::kF32;
  int64_t max_height = 0;        // rows of a register block
  bool fixed_height = false;     // row blocks are always max_height rows high
  bool reads_in_place = false;   // A needs no packing where k is contiguous
  int64_t a_width_multiple = 1;  // of the slots of a packed row block
  int64_t panel = 0;             // columns of a panel
  int64_t k_multiple = 1;
  int64_t element_bytes = 0;  // of a packed element
  int64_t acc_bytes = 4;      // of an accumulator
  void (*pack_a)(const GemmPack&) = nullptr;
  void (*pack_b)(const GemmPack&) = nullptr;
  void (*sweep)(const GemmSweep&) = nullptr;
};

// The kernel of a level for f64, f32 or bf16 (a level without its own takes the one below).  The
// caller answers for the level being offered by the processor.
const GemmKernel& gemm_kernel(Isa isa, DType dtype);
// That of the active level.  Chooses it for bf16 alone: the others are the same from avx512 on.
const GemmKernel& active_kernel(DType dtype);

// The entries of tensor/cpu/gemm.h with a given kernel.
void gemm_with(const GemmKernel& kernel, const GemmArgs& args);
void grouped_gemm_with(const GemmKernel& kernel, const GroupedGemmArgs& args);
// The caller owns the result (tensor/cpu/gemm.h: PackedMatrixPtr).
const PackedMatrix* pack_matrix_with(const GemmKernel& kernel, int64_t k, int64_t n, const void* b,
                                     int64_t ldb, bool trans_b);

namespace isa_scalar {
extern const GemmKernel gemm_f64, gemm_f32, gemm_bf16;
}
namespace isa_avx512 {
extern const GemmKernel gemm_f64, gemm_f32, gemm_bf16;
}
namespace isa_avx512bf16 {
extern const GemmKernel gemm_bf16;
}
namespace isa_amx {
extern const GemmKernel gemm_bf16;
}

}  // namespace orthant::cpu
