// SPDX-License-Identifier: Apache-2.0
// Parts of heads, from rows of one layout to rows of another.
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

template <class M>
void copy_row(const CopyHeadsArgs& args, const M* x, M* y) {
  for (int64_t h = 0; h < args.heads; ++h)
    __builtin_memcpy(y + h * args.y_step, x + h * args.x_step,
                     static_cast<size_t>(args.width) * sizeof(M));
}

template <class M>
[[gnu::flatten]] void sum_row(const CopyHeadsArgs& args, const M* x, M* y) {
  for_each_vec<Wide<M>>(args.width, [&](int64_t i, int64_t count) {
    Vec<Wide<M>> sum = load(x + i, count);
    for (int64_t h = 1; h < args.heads; ++h) sum += load(x + h * args.x_step + i, count);
    store(y + i, sum, count);
  });
}

int copy_heads(const BackendCall* call, const CopyHeadsArgs* args) {
  return with_dtype(call, "copy_heads", args->y.dtype, [&]<class M>(M) {
    const Rows<M> x = rows_of<M>(args->x), y = rows_of<M>(args->y);
    for_rows(y.rows, args->heads * args->width, [&](int64_t r) {
      if (args->y_step == 0) {
        sum_row<M>(*args, x[r], y[r]);
      } else {
        copy_row<M>(*args, x[r], y[r]);
      }
    });
    return 0;
  });
}

}  // namespace

void fill_copy_heads(Backend& table) { table.copy_heads = copy_heads; }

}  // namespace orthant::cpu::ORTHANT_ISA
