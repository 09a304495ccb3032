// SPDX-License-Identifier: Apache-2.0
// Matrix products on the CPU, for f64, f32 and bf16, in the forms that training needs.
//
// Contract (docs/numerics.md): an element of the result depends on its row of op(A), its column of
// op(B) and k alone: not on m, n, the number of threads, or whether B was packed before.  The
// products of an element are added in ascending order of k into one accumulator (one per pair of k
// for bf16), f64 for f64, else f32; row and column remainders use the same instructions as full
// tiles.  With accumulate, the finished sum is added to what C holds.
#pragma once

#include <cstdint>
#include <memory>

#include "tensor/dtype.h"

namespace orthant::cpu {

// op(B) [k, n] in the panel order that the kernels of the active level stream.  Immutable; owns its
// memory.
class PackedMatrix;
struct PackedMatrixDeleter {
  void operator()(const PackedMatrix* matrix) const;
};
using PackedMatrixPtr = std::unique_ptr<const PackedMatrix, PackedMatrixDeleter>;

// b: [k, n] with leading dimension ldb, or, with trans_b, [n, k].
PackedMatrixPtr pack_matrix(DType dtype, int64_t k, int64_t n, const void* b, int64_t ldb,
                            bool trans_b);
int64_t packed_bytes(const PackedMatrix& matrix);
int64_t packed_bytes(DType dtype, int64_t k, int64_t n);  // of a matrix that would be packed

// C[m, n] = op(A)[m, k] op(B)[k, n], or += with accumulate.  Leading dimensions are in elements.
struct GemmArgs {
  int64_t m = 0, n = 0, k = 0;
  DType dtype = DType::kF32;      // of A and B: f64, f32 or bf16
  DType out_dtype = DType::kF32;  // of C: that of A and B, or f32 for bf16 inputs
  const void* a = nullptr;
  int64_t lda = 0;
  bool trans_a = false;  // A is stored [k, m]
  const void* b = nullptr;
  int64_t ldb = 0;
  bool trans_b = false;                    // B is stored [n, k]
  const PackedMatrix* packed_b = nullptr;  // op(B) packed before; then b may be null
  void* c = nullptr;
  int64_t ldc = 0;
  bool accumulate = false;
};
void gemm(const GemmArgs& args);

// Products of many experts over rows that are sorted by expert: expert e owns the rows from
// offsets[e] to offsets[e + 1].
//   kForward     y[r, :] = x[r, :] w_e^T     x [rows, in], w [experts, out, in], y [rows, out]
//   kDataGrad    dx[r, :] = dy[r, :] w_e     the same shapes, given as x = dy [rows, out],
//                                            y = dx [rows, in]
//   kWeightGrad  dw_e (+)= dy_e^T x_e        x [rows, in], y = dy [rows, out] (read), w = dw
//                                            (written); an expert without rows gets zeros, or
//                                            stays as it is with accumulate
enum class GroupedForm { kForward, kDataGrad, kWeightGrad };
struct GroupedGemmArgs {
  GroupedForm form = GroupedForm::kForward;
  int64_t num_experts = 0, in = 0, out = 0;
  const int64_t* offsets = nullptr;  // [num_experts + 1], host
  DType dtype = DType::kF32;         // of x, y and (but for kWeightGrad) w
  DType w_dtype = DType::kF32;       // of w: dtype, or f32 for kWeightGrad with bf16 inputs
  const void* x = nullptr;
  int64_t ldx = 0;
  void* y = nullptr;
  int64_t ldy = 0;
  void* w = nullptr;                              // contiguous
  const PackedMatrix* const* packed_w = nullptr;  // one per expert, op(B) of this form; optional
  bool accumulate = false;
};
void grouped_gemm(const GroupedGemmArgs& args);

}  // namespace orthant::cpu
