// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding, half-split pairs (i, i + K/2) of a part of each head.
// Source: Su et al., "RoFormer", arXiv:2104.09864.
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

template <class M, class T>
[[gnu::flatten]] void rotate_head(const M* x, M* y, const T* cos, const T* sin, int64_t half,
                                  T sign) {
  for_each_vec<T>(half, [&](int64_t i, int64_t count) {
    const Vec<T> a = load(x + i, count), b = load(x + half + i, count);
    const Vec<T> c = load(cos + i, count), s = load(sin + i, count) * sign;
    store(y + i, a * c - b * s, count);
    store(y + half + i, b * c + a * s, count);
  });
}

template <class M>
void copy_span(const M* x, M* y, int64_t begin, int64_t end) {
  if (x != y && begin < end)
    __builtin_memcpy(y + begin, x + begin, static_cast<size_t>(end - begin) * sizeof(M));
}

int rotary(const BackendCall* call, const RotaryArgs* args) {
  return with_dtype(call, "rotary", args->x.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<M> x = rows_of<M>(args->x), y = rows_of<M>(args->y);
    const Rows<T> cos = rows_of<T>(args->cos), sin = rows_of<T>(args->sin);
    const int32_t* positions = static_cast<const int32_t*>(args->positions.data);
    const int64_t width = args->head_dim, half = cos.cols;
    const int64_t first = args->offset, last = first + 2 * half, end = args->heads * width;
    const T sign = args->inverse ? T{-1} : T{1};
    for_rows(x.rows, x.cols, [&](int64_t r) {
      const T* c = cos[positions[r]];
      const T* s = sin[positions[r]];
      for (int64_t h = 0; h < end; h += width) {
        copy_span(x[r], y[r], h, h + first);
        rotate_head<M, T>(x[r] + h + first, y[r] + h + first, c, s, half, sign);
        copy_span(x[r], y[r], h + last, h + width);
      }
      copy_span(x[r], y[r], end, x.cols);
    });
    return 0;
  });
}

}  // namespace

void fill_rotary(Backend& table) { table.rotary = rotary; }

}  // namespace orthant::cpu::ORTHANT_ISA
