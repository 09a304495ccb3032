// SPDX-License-Identifier: Apache-2.0
// Row-major products as the column-major ones that cuBLASLt computes.  Plain arithmetic, no CUDA:
// tests/tensor/plugin_test.cpp runs it against a naive column-major product.
//
// A row-major matrix whose rows start `ld` apart is, byte for byte, the column-major matrix of its
// transpose with leading dimension `ld`.  So c = op(a) op(b) is computed as c^T = op(b)^T op(a)^T:
// b comes first, sizes m and n change places, and transposes stay with their operand.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tensor/backend.h"

namespace orthant::cuda {

struct ColumnMajor {  // a matrix as stored
  int64_t rows, cols, ld;
};

// result [m, n] = op(first) op(second), column-major.
struct MatmulPlan {
  int64_t m, n, k;
  ColumnMajor first, second, result;
  bool transpose_first, transpose_second;
};

// Row-major c [m, n] = op(a) [m, k] op(b) [k, n]; ld* are row strides.  first is b, second is a.
struct RowMajorProduct {
  int64_t m, n, k;
  bool trans_a, trans_b;
  int64_t lda, ldb, ldc;
};

inline ColumnMajor column_major(int64_t rows, int64_t cols, int64_t ld) {
  // The stride of a matrix of one row is never used, but is checked by the library.
  return {cols, rows, std::max(ld, std::max<int64_t>(cols, 1))};
}

inline MatmulPlan plan_matmul(const RowMajorProduct& p) {
  return {.m = p.n,
          .n = p.m,
          .k = p.k,
          .first = p.trans_b ? column_major(p.n, p.k, p.ldb) : column_major(p.k, p.n, p.ldb),
          .second = p.trans_a ? column_major(p.k, p.m, p.lda) : column_major(p.m, p.k, p.lda),
          .result = column_major(p.m, p.n, p.ldc),
          .transpose_first = p.trans_b,
          .transpose_second = p.trans_a};
}

inline RowMajorProduct product_of(const MatmulArgs& args) {
  return {.m = args.c.shape[0],
          .n = args.c.shape[1],
          .k = args.a.shape[args.trans_a ? 0 : 1],
          .trans_a = args.trans_a != 0,
          .trans_b = args.trans_b != 0,
          .lda = args.a.row_stride,
          .ldb = args.b.row_stride,
          .ldc = args.c.row_stride};
}

// One expert's part of a grouped product; offsets in elements from the beginning of the views.
enum class Operand { kX, kW, kY };
struct ExpertProduct {
  RowMajorProduct product;
  Operand a, b, c;
  int64_t a_offset, b_offset, c_offset;
};

inline ExpertProduct expert_product(const GroupedMatmulArgs& args, int64_t expert) {
  const int64_t begin = args.offsets[expert], rows = args.offsets[expert + 1] - begin;
  const int64_t out = args.w.shape[1], in = args.w.shape[2];
  const int64_t x = begin * args.x.row_stride, y = begin * args.y.row_stride;
  const int64_t w = expert * out * args.w.row_stride;
  const int64_t ldx = args.x.row_stride, ldw = args.w.row_stride, ldy = args.y.row_stride;
  switch (args.form) {
    case ProductForm::kForward:  // y [rows, out] = x [rows, in] w^T
      return {{rows, out, in, false, true, ldx, ldw, ldy},
              Operand::kX,
              Operand::kW,
              Operand::kY,
              x,
              w,
              y};
    case ProductForm::kDataGrad:  // y [rows, in] = x [rows, out] w
      return {{rows, in, out, false, false, ldx, ldw, ldy},
              Operand::kX,
              Operand::kW,
              Operand::kY,
              x,
              w,
              y};
    case ProductForm::kWeightGrad:  // w [out, in] = y^T x
      break;
  }
  return {
      {out, in, rows, true, false, ldy, ldx, ldw}, Operand::kY, Operand::kX, Operand::kW, y, x, w};
}

}  // namespace orthant::cuda
