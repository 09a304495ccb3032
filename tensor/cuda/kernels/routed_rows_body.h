// SPDX-License-Identifier: Apache-2.0
// Rows on their way to experts and back: the plan, the weighted sum of what comes back, its
// gradient.
#pragma once

#include <vector>

#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

template <class M>
struct Combine {
  using T = Wide<M>;
  Rows<const M> rows;
  Rows<const int32_t> row_of;
  Rows<const T> weights;
  Rows<M> y;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t n, void*) const {
    const int32_t* from = row_of[n];
    const T* weight = weights.data ? weights[n] : nullptr;
    M* out = y[n];
    team.each(y.cols, [&](int64_t i) {
      T sum = 0;
      for (int64_t a = 0; a < row_of.cols; ++a) {
        if (from[a] < 0) continue;
        const T x = widen(rows[from[a]][i]);
        sum += weight ? x * weight[a] : x;
      }
      narrow(sum, out + i);
    });
  }
};

template <class M>
struct CombineGrad {
  using T = Wide<M>;
  Rows<const M> dy, rows;
  Rows<const int32_t> row_of;
  Rows<const T> weights;
  Rows<M> drows;
  Rows<T> dweights;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t n, void*) const {
    const M* slope = dy[n];
    for (int64_t a = 0; a < row_of.cols; ++a) {
      const int64_t r = row_of[n][a];
      if (drows.data && r >= 0) {
        const T weight = weights.data ? weights[n][a] : T{1};
        M* out = drows[r];
        team.each(dy.cols, [&](int64_t i) { narrow(widen(slope[i]) * weight, out + i); });
      }
      if (!dweights.data) continue;
      T dot = 0;
      if (r >= 0) {
        const M* x = rows[r];
        dot =
            team.template sum<T>(dy.cols, [&](int64_t i) { return widen(x[i]) * widen(slope[i]); });
      }
      team.once([&] { dweights[n][a] = dot; });
    }
  }
};

// On the host.  ids, row_of and token_of have no gaps; offsets has num_experts + 1 entries.  A
// counting sort by expert, stable in (token, slot).  False when an id is out of range.
inline bool plan_rows(const int32_t* ids, int64_t num_tokens, int64_t slots, int64_t num_experts,
                      int32_t* row_of, int32_t* token_of, int64_t* offsets) {
  for (int64_t e = 0; e <= num_experts; ++e) offsets[e] = 0;
  for (int64_t i = 0; i < num_tokens * slots; ++i) {
    if (ids[i] >= num_experts) return false;
    if (ids[i] >= 0) ++offsets[ids[i] + 1];
  }
  for (int64_t e = 0; e < num_experts; ++e) offsets[e + 1] += offsets[e];
  std::vector<int64_t> next(offsets, offsets + num_experts);
  for (int64_t i = 0; i < num_tokens * slots; ++i) {
    const int64_t row = ids[i] < 0 ? -1 : next[static_cast<size_t>(ids[i])]++;
    row_of[i] = static_cast<int32_t>(row);
    if (row >= 0) token_of[row] = static_cast<int32_t>(i / slots);
  }
  return true;
}

template <class Exec>
int combine(const BackendCall* call, const CombineArgs* args) {
  Exec exec(call, "combine");
  return with_dtype(exec, args->y.dtype, [&]<class M>(M) {
    const Rows<M> y = rows_of<M>(args->y);
    return exec.rows(y.rows,
                     Combine<M>{rows_of<const M>(args->rows), rows_of<const int32_t>(args->row_of),
                                rows_of<const Wide<M>>(args->weights), y});
  });
}
template <class Exec>
int combine_grad(const BackendCall* call, const CombineGradArgs* args) {
  Exec exec(call, "combine_grad");
  return with_dtype(exec, args->dy.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<const M> dy = rows_of<const M>(args->dy);
    return exec.rows(dy.rows, CombineGrad<M>{dy, rows_of<const M>(args->rows),
                                             rows_of<const int32_t>(args->row_of),
                                             rows_of<const T>(args->weights),
                                             rows_of<M>(args->drows), rows_of<T>(args->dweights)});
  });
}
// Planned on the host: offsets is host memory, so the stream is waited for anyway.
template <class Exec>
int dispatch_plan(const BackendCall* call, const DispatchPlanArgs* args) {
  Exec exec(call, "dispatch_plan");
  const Rows<int32_t> ids = rows_of<int32_t>(args->ids), row_of = rows_of<int32_t>(args->row_of);
  const size_t count = static_cast<size_t>(ids.numel());
  std::vector<int32_t> host_ids(count), host_row_of(count), host_token_of(count);
  if (const int status = exec.to_host(ids, host_ids.data())) return status;
  if (!plan_rows(host_ids.data(), ids.rows, ids.cols, args->num_experts, host_row_of.data(),
                 host_token_of.data(), args->offsets))
    return exec.fail("an expert id is out of range");
  if (const int status = exec.to_device(host_row_of.data(), row_of)) return status;
  const int64_t used = args->offsets[args->num_experts];
  return exec.to_device(host_token_of.data(), {data_of<int32_t>(args->token_of), 1, used, used});
}

}  // namespace orthant::cuda::kernels
