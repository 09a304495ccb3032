// SPDX-License-Identifier: Apache-2.0
// add, scale, cast, fill: memory-bound loops over views of any floating type.
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

template <class A, class B>
struct WiderOf {
  using type = float;
};
template <class B>
struct WiderOf<double, B> {
  using type = double;
};
template <class A>
struct WiderOf<A, double> {
  using type = double;
};
template <>
struct WiderOf<double, double> {
  using type = double;
};

template <class M>
void add_span(const M* a, const M* b, M* y, int64_t begin, int64_t end) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) narrow(widen(a[i]) + widen(b[i]), y + i);
}

template <class M>
void scale_span(const M* x, M* y, Wide<M> factor, int64_t begin, int64_t end) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) narrow(widen(x[i]) * factor, y + i);
}

template <class X, class Y>
void cast_span(const X* x, Y* y, bool accumulate, int64_t begin, int64_t end) {
  using T = typename WiderOf<X, Y>::type;
  if (accumulate) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i)
      narrow(static_cast<T>(widen(y[i])) + static_cast<T>(widen(x[i])), y + i);
  } else {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) narrow(static_cast<T>(widen(x[i])), y + i);
  }
}

template <class Y>
void fill_view(const View& view, Y value) {
  const Rows<Y> y = rows_of<Y>(view);
  for_elements(y.rows, y.cols, y.is_flat(), [&](int64_t r, int64_t begin, int64_t end) {
    Y* row = y[r];
    for (int64_t i = begin; i < end; ++i) row[i] = value;
  });
}

int add(const BackendCall* call, const BinaryArgs* args) {
  return with_dtype(call, "add", args->y.dtype, [&]<class M>(M) {
    const Rows<M> a = rows_of<M>(args->a), b = rows_of<M>(args->b), y = rows_of<M>(args->y);
    for_elements(
        y.rows, y.cols, a.is_flat() && b.is_flat() && y.is_flat(),
        [&](int64_t r, int64_t begin, int64_t end) { add_span<M>(a[r], b[r], y[r], begin, end); });
    return 0;
  });
}

int scale(const BackendCall* call, const ScaleArgs* args) {
  return with_dtype(call, "scale", args->y.dtype, [&]<class M>(M) {
    const Rows<M> x = rows_of<M>(args->x), y = rows_of<M>(args->y);
    const Wide<M> factor = static_cast<Wide<M>>(args->factor);
    for_elements(y.rows, y.cols, x.is_flat() && y.is_flat(),
                 [&](int64_t r, int64_t begin, int64_t end) {
                   scale_span<M>(x[r], y[r], factor, begin, end);
                 });
    return 0;
  });
}

int cast(const BackendCall* call, const CastArgs* args) {
  return with_dtype(call, "cast", args->y.dtype, [&]<class Y>(Y) {
    return with_dtype(call, "cast", args->x.dtype, [&]<class X>(X) {
      const Rows<X> x = rows_of<X>(args->x);
      const Rows<Y> y = rows_of<Y>(args->y);
      const bool accumulate = args->accumulate != 0;
      for_elements(y.rows, y.cols, x.is_flat() && y.is_flat(),
                   [&](int64_t r, int64_t begin, int64_t end) {
                     cast_span<X, Y>(x[r], y[r], accumulate, begin, end);
                   });
      return 0;
    });
  });
}

int fill(const BackendCall* call, const FillArgs* args) {
  const double value = args->value;
  switch (args->y.dtype) {
    case DType::kI64:
      fill_view<int64_t>(args->y, static_cast<int64_t>(value));
      return 0;
    case DType::kI32:
      fill_view<int32_t>(args->y, static_cast<int32_t>(value));
      return 0;
    case DType::kI8:
      fill_view<int8_t>(args->y, static_cast<int8_t>(value));
      return 0;
    case DType::kU8:
      fill_view<uint8_t>(args->y, static_cast<uint8_t>(value));
      return 0;
    default:
      return with_dtype(call, "fill", args->y.dtype, [&]<class M>(M element) {
        narrow(value, &element);
        fill_view<M>(args->y, element);
        return 0;
      });
  }
}

}  // namespace

void fill_elementwise(Backend& table) {
  table.add = add;
  table.scale = scale;
  table.cast = cast;
  table.fill = fill;
}

}  // namespace orthant::cpu::ORTHANT_ISA
