// SPDX-License-Identifier: Apache-2.0
// Elements of matrices that are held in few bits.
#pragma once

#include "tensor/code_books.h"
#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

ORTHANT_HD inline float nf4_level(int code) {
  static constexpr Nf4Levels levels;
  return levels.values[code];
}
ORTHANT_HD inline float dynamic_value(int code) {
  static constexpr DynamicMap map;
  return map.values[code];
}

template <class M>
struct DequantizeNf4 {
  Rows<const uint8_t> codes, scales;
  const float* nested;
  Rows<M> y;
  int64_t first_row, first_column, row_blocks;
  ORTHANT_HD void operator()(int64_t i) const {
    const int64_t row = i / y.cols, column = first_column + i % y.cols;
    const int byte = codes[row][column / 2 - first_column / 2];
    const int code = column % 2 == 0 ? byte >> 4 : byte & 15;
    const int64_t block = column / kNf4Block;
    const int64_t group = ((first_row + row) * row_blocks + block) / kNf4Nested;
    // In double the product is exact and the sum is rounded once, fused or not.
    const double largest =
        static_cast<double>(dynamic_value(scales[row][block - first_column / kNf4Block])) *
            static_cast<double>(nested[1 + group]) +
        static_cast<double>(nested[0]);
    narrow(
        static_cast<Wide<M>>(nf4_level(code)) * static_cast<Wide<M>>(static_cast<float>(largest)),
        &y.at(i));
  }
};

template <class M>
struct DequantizeInt8 {
  Rows<const int8_t> codes;
  const float* scales;
  Rows<M> y;
  ORTHANT_HD void operator()(int64_t i) const {
    narrow(static_cast<Wide<M>>(codes.at(i)) * static_cast<Wide<M>>(scales[i / y.cols]), &y.at(i));
  }
};

template <class Exec>
int dequantize(const BackendCall* call, const DequantizeArgs* args) {
  Exec exec(call, "dequantize");
  return with_dtype(exec, args->y.dtype, [&]<class M>(M) {
    const Rows<M> y = rows_of<M>(args->y);
    if (args->format == Quantization::kInt8)
      return exec.elements(y.numel(), DequantizeInt8<M>{rows_of<const int8_t>(args->codes),
                                                        data_of<const float>(args->scales), y});
    return exec.elements(
        y.numel(),
        DequantizeNf4<M>{rows_of<const uint8_t>(args->codes), rows_of<const uint8_t>(args->scales),
                         data_of<const float>(args->nested), y, args->first_row, args->first_column,
                         args->row_blocks});
  });
}

}  // namespace orthant::cuda::kernels
