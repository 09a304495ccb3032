// SPDX-License-Identifier: Apache-2.0
// Rows on their way to experts and back: the plan, the weighted sum of what comes back, its
// gradient.
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

template <class M, class T>
[[gnu::flatten]] void combine_row(const Rows<M>& rows, const int32_t* row_of, const T* weights,
                                  int64_t slots, M* y) {
  for_each_vec<T>(rows.cols, [&](int64_t i, int64_t count) {
    Vec<T> sum = {};
    for (int64_t a = 0; a < slots; ++a) {
      if (row_of[a] < 0) continue;
      const Vec<T> x = load(rows[row_of[a]] + i, count);
      sum = weights ? sum + x * weights[a] : sum + x;
    }
    store(y + i, sum, count);
  });
}

template <class M, class T>
[[gnu::flatten]] void scale_row(const M* x, T factor, M* y, int64_t n) {
  for_each_vec<T>(
      n, [&](int64_t i, int64_t count) { store(y + i, load(x + i, count) * factor, count); });
}

template <class M, class T>
[[gnu::flatten]] T dot(const M* x, const M* y, int64_t n) {
  return sum_of<T>(
      n, [&](int64_t i, int64_t count) { return load(x + i, count) * load(y + i, count); });
}

int combine(const BackendCall* call, const CombineArgs* args) {
  return with_dtype(call, "combine", args->y.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<M> y = rows_of<M>(args->y);
    Rows<M> rows = rows_of<M>(args->rows);
    rows.cols = y.cols;
    const Rows<int32_t> row_of = rows_of<int32_t>(args->row_of);
    const Rows<T> weights = rows_of<T>(args->weights);
    for_rows(y.rows, y.cols * max_of(1, row_of.cols), [&](int64_t n) {
      combine_row<M, T>(rows, row_of[n], weights.data ? weights[n] : nullptr, row_of.cols, y[n]);
    });
    return 0;
  });
}

int combine_grad(const BackendCall* call, const CombineGradArgs* args) {
  return with_dtype(call, "combine_grad", args->dy.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<M> dy = rows_of<M>(args->dy), rows = rows_of<M>(args->rows);
    const Rows<M> drows = rows_of<M>(args->drows);
    const Rows<int32_t> row_of = rows_of<int32_t>(args->row_of);
    const Rows<T> weights = rows_of<T>(args->weights), dweights = rows_of<T>(args->dweights);
    for_rows(dy.rows, dy.cols * max_of(1, row_of.cols), [&](int64_t n) {
      for (int64_t a = 0; a < row_of.cols; ++a) {
        const int64_t r = row_of[n][a];
        if (drows.data && r >= 0)
          scale_row<M, T>(dy[n], weights.data ? weights[n][a] : T{1}, drows[r], dy.cols);
        if (dweights.data) dweights[n][a] = r < 0 ? T{0} : dot<M, T>(rows[r], dy[n], dy.cols);
      }
    });
    return 0;
  });
}

// A counting sort by expert, stable in (token, slot).
int dispatch_plan(const BackendCall* call, const DispatchPlanArgs* args) {
  const Rows<int32_t> ids = rows_of<int32_t>(args->ids), row_of = rows_of<int32_t>(args->row_of);
  int32_t* token_of = static_cast<int32_t*>(args->token_of.data);
  int64_t* offsets = args->offsets;
  const int64_t num_experts = args->num_experts;
  for (int64_t e = 0; e <= num_experts; ++e) offsets[e] = 0;
  for (int64_t n = 0; n < ids.rows; ++n) {
    for (int64_t a = 0; a < ids.cols; ++a) {
      const int32_t e = ids[n][a];
      if (e >= num_experts) return fail(call, "dispatch_plan", "an expert id is out of range");
      if (e >= 0) ++offsets[e + 1];
    }
  }
  for (int64_t e = 0; e < num_experts; ++e) offsets[e + 1] += offsets[e];
  // offsets[e] runs from the first row of expert e to its last; then all move back by one place.
  for (int64_t n = 0; n < ids.rows; ++n) {
    for (int64_t a = 0; a < ids.cols; ++a) {
      const int32_t e = ids[n][a];
      const int64_t row = e < 0 ? -1 : offsets[e]++;
      row_of[n][a] = static_cast<int32_t>(row);
      if (row >= 0) token_of[row] = static_cast<int32_t>(n);
    }
  }
  for (int64_t e = num_experts; e > 0; --e) offsets[e] = offsets[e - 1];
  offsets[0] = 0;
  return 0;
}

}  // namespace

void fill_routed_rows(Backend& table) {
  table.combine = combine;
  table.combine_grad = combine_grad;
  table.dispatch_plan = dispatch_plan;
}

}  // namespace orthant::cpu::ORTHANT_ISA
