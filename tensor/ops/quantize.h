// SPDX-License-Identifier: Apache-2.0
// Matrices in few bits: what frozen weights are held in (docs/numerics.md, "Quantised weights").
//
// Blocks follow the whole matrix, along its rows: a rectangle of one has the elements of the whole
// to the bit, wherever it was cut.
#pragma once

#include <string_view>
#include <vector>

#include "base/enum_names.h"
#include "tensor/backend.h"
#include "tensor/tensor.h"

namespace orthant {

const EnumNames<Quantization>& quantization_names();  // none, nf4, int8

// A part of what a matrix is held in, as checkpoints have it: a rectangle of a whole part.
struct QuantizedPart {
  std::string_view suffix;  // behind the name of the matrix
  Shape whole;
  std::vector<int64_t> begin;
  Tensor data;
};

class QuantizedMatrix {
 public:
  // Uninitialised, of a rectangle of a matrix [rows, columns].
  QuantizedMatrix(Quantization format, const Shape& whole, const std::vector<int64_t>& begin,
                  const Shape& shape, Device device = {});
  // Of the whole of w [rows, columns] on the host, f32.  Not parallel to the bits of a device:
  // always computed on the host.
  static QuantizedMatrix of(Quantization format, const Tensor& w);

  Quantization format() const { return format_; }
  const Shape& shape() const { return shape_; }
  int64_t bytes() const;
  // NF4: ".nf4", ".nf4_scale", ".nf4_nested"; int8: ".int8", ".int8_scale".
  std::vector<QuantizedPart> parts() const;
  // This rectangle of `whole`, a whole matrix on the host.
  void take(const QuantizedMatrix& whole) const;
  // Into y [rows, columns] of the rectangle, in f64, f32 or bf16.
  void dequantize(const Tensor& y) const;

 private:
  Quantization format_;
  Shape whole_;
  std::vector<int64_t> begin_;
  Shape shape_;
  Tensor codes_, scales_, nested_;  // as DequantizeArgs has them
};

// How far what it is held in is from w [rows, columns], f32 on the host: the root of the mean
// square of the differences, over that of the elements.  0 of a matrix of zeros.
double relative_error(const QuantizedMatrix& quantized, const Tensor& w);

}  // namespace orthant
