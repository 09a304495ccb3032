// SPDX-License-Identifier: Apache-2.0
// add, scale, cast, fill, copy_heads and dropout: one thread per element.
#pragma once

#include <type_traits>

#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

template <class M>
struct Add {
  Rows<const M> a, b;
  Rows<M> y;
  ORTHANT_HD void operator()(int64_t i) const { narrow(widen(a.at(i)) + widen(b.at(i)), &y.at(i)); }
};

template <class M>
struct Scale {
  Rows<const M> x;
  Rows<M> y;
  Wide<M> factor;
  ORTHANT_HD void operator()(int64_t i) const { narrow(widen(x.at(i)) * factor, &y.at(i)); }
};

template <class X, class Y>
struct Cast {
  // f64 when either side is.
  using T = std::conditional_t<std::is_same_v<X, double>, double, Wide<Y>>;
  Rows<const X> x;
  Rows<Y> y;
  bool accumulate;
  ORTHANT_HD void operator()(int64_t i) const {
    const T value = static_cast<T>(widen(x.at(i)));
    narrow(accumulate ? static_cast<T>(widen(y.at(i))) + value : value, &y.at(i));
  }
};

template <class Y>
struct Fill {
  Rows<Y> y;
  Y value;
  ORTHANT_HD void operator()(int64_t i) const { y.at(i) = value; }
};

// Element i of those that are written: row by row, head by head.
template <class M>
struct CopyHeads {
  Rows<const M> x;
  Rows<M> y;
  int64_t heads, width, x_step, y_step;
  ORTHANT_HD void operator()(int64_t i) const {
    const int64_t at = i % width, head = i / width % heads, row = i / width / heads;
    y[row][head * y_step + at] = x[row][head * x_step + at];
  }
};
template <class M>
struct SumHeads {
  Rows<const M> x;
  Rows<M> y;
  int64_t heads, width, x_step;
  ORTHANT_HD void operator()(int64_t i) const {
    const M* in = x[i / width] + i % width;
    Wide<M> sum = widen(in[0]);
    for (int64_t h = 1; h < heads; ++h) sum += widen(in[h * x_step]);
    narrow(sum, &y[i / width][i % width]);
  }
};

// An element is kept when word j % 4 of philox(key, step, j / 4) is at least the threshold, where
// j = tokens[row] * row_width + first_column + column.
template <class M>
struct Dropout {
  Rows<const M> x;
  Rows<M> y;
  PhiloxKey key;
  uint64_t step;
  const int64_t* tokens;
  int64_t row_width, first_column;
  uint32_t threshold;
  Wide<M> factor;
  ORTHANT_HD void operator()(int64_t i) const {
    const int64_t first = tokens[i / x.cols] * row_width + first_column;
    const uint64_t j = static_cast<uint64_t>(first + i % x.cols);
    const uint32_t word = philox(key, step, j / 4).x[j % 4];
    narrow(word >= threshold ? widen(x.at(i)) * factor : Wide<M>{0}, &y.at(i));
  }
};

template <class Exec>
int add(const BackendCall* call, const BinaryArgs* args) {
  Exec exec(call, "add");
  return with_dtype(exec, args->y.dtype, [&]<class M>(M) {
    const Rows<M> y = rows_of<M>(args->y);
    return exec.elements(y.numel(),
                         Add<M>{rows_of<const M>(args->a), rows_of<const M>(args->b), y});
  });
}
template <class Exec>
int scale(const BackendCall* call, const ScaleArgs* args) {
  Exec exec(call, "scale");
  return with_dtype(exec, args->y.dtype, [&]<class M>(M) {
    const Rows<M> y = rows_of<M>(args->y);
    return exec.elements(
        y.numel(), Scale<M>{rows_of<const M>(args->x), y, static_cast<Wide<M>>(args->factor)});
  });
}
template <class Exec>
int cast(const BackendCall* call, const CastArgs* args) {
  Exec exec(call, "cast");
  return with_dtype(exec, args->y.dtype, [&]<class Y>(Y) {
    return with_dtype(exec, args->x.dtype, [&]<class X>(X) {
      const Rows<Y> y = rows_of<Y>(args->y);
      return exec.elements(y.numel(),
                           Cast<X, Y>{rows_of<const X>(args->x), y, args->accumulate != 0});
    });
  });
}
template <class Y, class Exec>
int fill_view(Exec& exec, const View& view, Y value) {
  const Rows<Y> y = rows_of<Y>(view);
  return exec.elements(y.numel(), Fill<Y>{y, value});
}
template <class Exec>
int fill(const BackendCall* call, const FillArgs* args) {
  Exec exec(call, "fill");
  switch (args->y.dtype) {
    case DType::kI64:
      return fill_view(exec, args->y, static_cast<int64_t>(args->value));
    case DType::kI32:
      return fill_view(exec, args->y, static_cast<int32_t>(args->value));
    case DType::kI8:
      return fill_view(exec, args->y, static_cast<int8_t>(args->value));
    case DType::kU8:
      return fill_view(exec, args->y, static_cast<uint8_t>(args->value));
    default:
      return with_dtype(exec, args->y.dtype, [&]<class M>(M element) {
        narrow(args->value, &element);
        return fill_view(exec, args->y, element);
      });
  }
}
template <class Exec>
int copy_heads(const BackendCall* call, const CopyHeadsArgs* args) {
  Exec exec(call, "copy_heads");
  return with_dtype(exec, args->y.dtype, [&]<class M>(M) {
    const Rows<const M> x = rows_of<const M>(args->x);
    const Rows<M> y = rows_of<M>(args->y);
    const int64_t heads = args->heads, width = args->width;
    if (args->y_step == 0)
      return exec.elements(y.rows * width, SumHeads<M>{x, y, heads, width, args->x_step});
    return exec.elements(y.rows * heads * width,
                         CopyHeads<M>{x, y, heads, width, args->x_step, args->y_step});
  });
}
template <class Exec>
int dropout(const BackendCall* call, const DropoutArgs* args) {
  Exec exec(call, "dropout");
  const double p = args->probability;
  if (!(p >= 0.0 && p < 1.0)) return exec.fail("want 0 <= probability < 1");
  // (bits + 0.5) * 2^-32 >= p, without rounding.
  const double bound = std::ceil(p * 0x1p32 - 0.5);
  if (bound >= 0x1p32) return exec.fail("the probability is too close to 1");
  return with_dtype(exec, args->x.dtype, [&]<class M>(M) {
    const Rows<M> y = rows_of<M>(args->y);
    return exec.elements(
        y.numel(),
        Dropout<M>{rows_of<const M>(args->x), y, PhiloxKey{args->key0, args->key1}, args->step,
                   data_of<const int64_t>(args->tokens), args->row_width, args->first_column,
                   static_cast<uint32_t>(bound), static_cast<Wide<M>>(1.0 / (1.0 - p))});
  });
}

}  // namespace orthant::cuda::kernels
