// SPDX-License-Identifier: Apache-2.0
#include "tensor/ops/quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/parallel_for.h"
#include "tensor/code_books.h"
#include "tensor/ops/call.h"

namespace orthant {
namespace {

constexpr Nf4Levels kLevels;
constexpr DynamicMap kDynamicMap;

int64_t blocks_in(int64_t columns) { return (columns + kNf4Block - 1) / kNf4Block; }
int64_t groups_in(const Shape& matrix) {
  return (matrix[0] * blocks_in(matrix[1]) + kNf4Nested - 1) / kNf4Nested;
}
// Columns of a part in which `size` columns of the matrix share one: from that of the first on.
int64_t shared_columns(int64_t begin, int64_t columns, int64_t size) {
  return columns == 0 ? 0 : (begin + columns - 1) / size - begin / size + 1;
}

// The code of the dynamic map whose number is nearest; of two as near the lower one.
int nearest_number(float x) {
  const float *begin = kDynamicMap.values, *end = begin + 256;
  const float* above = std::lower_bound(begin, end, x);
  if (above == begin) return 0;
  if (above == end) return 255;
  const auto place = static_cast<int>(above - begin);
  return x - above[-1] <= *above - x ? place - 1 : place;
}

// Between neighbouring levels of NF4: an element's code is the number of those that it is above.
struct Middles {
  float values[15] = {};
  constexpr Middles() {
    for (int i = 0; i < 15; ++i)
      values[i] = static_cast<float>(
          (static_cast<double>(kLevels.values[i]) + static_cast<double>(kLevels.values[i + 1])) /
          2);
  }
};
constexpr Middles kMiddles;

int nearest_level(float x) {
  int code = 0;
  for (const float middle : kMiddles.values) code += x > middle;
  return code;
}

float largest_of(const float* begin, const float* end) {
  float largest = 0;
  for (; begin != end; ++begin) largest = std::max(largest, std::abs(*begin));
  return largest;
}

// The largest of each block, in codes of 8 bits beside factors and the mean.
void quantize_largest(const std::vector<float>& largest, uint8_t* scales, float* nested) {
  double sum = 0;
  for (const float value : largest) sum += static_cast<double>(value);
  const auto mean =
      static_cast<float>(largest.empty() ? 0.0 : sum / static_cast<double>(largest.size()));
  nested[0] = mean;
  const auto count = std::ssize(largest);
  for (int64_t begin = 0; begin < count; begin += kNf4Nested) {
    const int64_t end = std::min(count, begin + kNf4Nested);
    float factor = 0;
    for (int64_t i = begin; i < end; ++i)
      factor = std::max(factor, std::abs(largest[static_cast<size_t>(i)] - mean));
    nested[1 + begin / kNf4Nested] = factor;
    for (int64_t i = begin; i < end; ++i) {
      const float apart = largest[static_cast<size_t>(i)] - mean;
      scales[i] = static_cast<uint8_t>(nearest_number(factor > 0 ? apart / factor : 0.0f));
    }
  }
}

void quantize_nf4(const Tensor& w, const Tensor& codes, const Tensor& scales,
                  const Tensor& nested) {
  const int64_t rows = w.dim(0), columns = w.dim(1), blocks = blocks_in(columns);
  const float* from = w.as<float>();
  auto* bytes = static_cast<uint8_t*>(codes.data());
  std::vector<float> largest(static_cast<size_t>(rows * blocks));
  const auto each_block = [&](const auto& body) {
    parallel_for(rows, 1 + 65536 / std::max<int64_t>(columns, 1), [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row)
        for (int64_t b = 0; b < blocks; ++b)
          body(row, row * blocks + b, b * kNf4Block, std::min(columns, (b + 1) * kNf4Block));
    });
  };
  each_block([&](int64_t row, int64_t block, int64_t begin, int64_t end) {
    largest[static_cast<size_t>(block)] =
        largest_of(from + row * columns + begin, from + row * columns + end);
  });
  quantize_largest(largest, static_cast<uint8_t*>(scales.data()), nested.as<float>());
  // Levels are chosen by the largest itself, as bitsandbytes does.
  each_block([&](int64_t row, int64_t block, int64_t begin, int64_t end) {
    const float scale = largest[static_cast<size_t>(block)];
    for (int64_t c = begin; c < end; ++c) {
      const float x = scale > 0 ? from[row * columns + c] / scale : 0.0f;
      const int code = nearest_level(x);
      uint8_t& byte = bytes[row * codes.dim(1) + c / 2];
      byte = static_cast<uint8_t>(c % 2 == 0 ? code << 4 : byte | code);
    }
  });
}

void quantize_int8(const Tensor& w, const Tensor& codes, const Tensor& scales) {
  const int64_t rows = w.dim(0), columns = w.dim(1);
  parallel_for(rows, 1 + 65536 / std::max<int64_t>(columns, 1), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const float* from = w.as<float>() + row * columns;
      const float scale = largest_of(from, from + columns) / 127.0f;
      scales.as<float>()[row] = scale;
      for (int64_t c = 0; c < columns; ++c)
        codes.as<int8_t>()[row * columns + c] =
            static_cast<int8_t>(scale > 0 ? std::lrint(from[c] / scale) : 0);
    }
  });
}

// Rows and columns of a part on the host, of its whole.
void take_part(const QuantizedPart& part, const Tensor& whole) {
  const Tensor& to = part.data;
  if (to.numel() == 0) return;
  const int64_t size = size_of(to.dtype()), rows = to.rank() == 2 ? to.dim(0) : 1;
  const int64_t columns = to.dim(-1), from_columns = whole.dim(-1);
  const int64_t row = to.rank() == 2 ? part.begin.front() : 0, column = part.begin.back();
  const Tensor host = Tensor::empty(to.shape(), to.dtype());
  for (int64_t r = 0; r < rows; ++r)
    std::memcpy(static_cast<char*>(host.data()) + r * columns * size,
                static_cast<const char*>(whole.data()) + ((row + r) * from_columns + column) * size,
                static_cast<size_t>(columns * size));
  copy(host, to);
}

}  // namespace

const EnumNames<Quantization>& quantization_names() {
  static const EnumNames<Quantization> names = {
      {Quantization::kNone, "none"}, {Quantization::kNf4, "nf4"}, {Quantization::kInt8, "int8"}};
  return names;
}

QuantizedMatrix::QuantizedMatrix(Quantization format, const Shape& whole,
                                 const std::vector<int64_t>& begin, const Shape& shape,
                                 Device device)
    : format_(format), whole_(whole), begin_(begin), shape_(shape) {
  ORTHANT_CHECK(whole.rank() == 2 && format != Quantization::kNone, kInternal,
                "quantize: want a matrix, got ", whole.text());
  if (format == Quantization::kInt8) {
    codes_ = Tensor::empty(shape, DType::kI8, device);
    scales_ = Tensor::empty({shape[0]}, DType::kF32, device);
    return;
  }
  const int64_t bytes = shared_columns(begin[1], shape[1], 2);
  codes_ = Tensor::empty({shape[0], bytes}, DType::kU8, device);
  scales_ =
      Tensor::empty({shape[0], shared_columns(begin[1], shape[1], kNf4Block)}, DType::kU8, device);
  nested_ = Tensor::empty({1 + groups_in(whole)}, DType::kF32, device);
}

QuantizedMatrix QuantizedMatrix::of(Quantization format, const Tensor& w) {
  QuantizedMatrix result(format, w.shape(), {0, 0}, w.shape());
  if (format == Quantization::kNf4) {
    quantize_nf4(w, result.codes_, result.scales_, result.nested_);
  } else {
    quantize_int8(w, result.codes_, result.scales_);
  }
  return result;
}

int64_t QuantizedMatrix::bytes() const {
  int64_t bytes = 0;
  for (const QuantizedPart& part : parts()) bytes += part.data.bytes();
  return bytes;
}

std::vector<QuantizedPart> QuantizedMatrix::parts() const {
  const int64_t rows = whole_[0], columns = whole_[1];
  if (format_ == Quantization::kInt8)
    return {{".int8", whole_, begin_, codes_}, {".int8_scale", {rows}, {begin_[0]}, scales_}};
  return {{".nf4", {rows, (columns + 1) / 2}, {begin_[0], begin_[1] / 2}, codes_},
          {".nf4_scale", {rows, blocks_in(columns)}, {begin_[0], begin_[1] / kNf4Block}, scales_},
          {".nf4_nested", {1 + groups_in(whole_)}, {0}, nested_}};
}

void QuantizedMatrix::take(const QuantizedMatrix& whole) const {
  ORTHANT_CHECK(whole.format_ == format_ && whole.shape_ == whole_, kInternal,
                "quantize: want a part of ", whole_.text(), ", got ", whole.shape_.text());
  const std::vector<QuantizedPart> own = parts(), all = whole.parts();
  for (size_t i = 0; i < own.size(); ++i) take_part(own[i], all[i].data);
}

void QuantizedMatrix::dequantize(const Tensor& y) const {
  ORTHANT_CHECK(y.numel() == shape_.numel(), kInternal, "dequantize: want ", shape_.text(),
                ", got ", describe(y));
  if (y.numel() == 0) return;
  const Tensor rows = y.view(shape_);
  ops::call(&Backend::dequantize, "dequantize", {&codes_, &rows},
            DequantizeArgs{.codes = ops::view_of(codes_),
                           .scales = ops::view_of(scales_),
                           .nested = ops::view_of(nested_),
                           .y = ops::view_of(rows),
                           .format = format_,
                           .first_row = begin_[0],
                           .first_column = begin_[1],
                           .row_blocks = blocks_in(whole_[1])});
}

double relative_error(const QuantizedMatrix& quantized, const Tensor& w) {
  const Tensor back = Tensor::like(w);
  quantized.dequantize(back);
  double error = 0, all = 0;
  for (int64_t i = 0; i < w.numel(); ++i) {
    const double want = static_cast<double>(w.as<float>()[i]);
    const double apart = static_cast<double>(back.as<float>()[i]) - want;
    error += apart * apart;
    all += want * want;
  }
  return all > 0 ? std::sqrt(error / all) : 0.0;
}

}  // namespace orthant
