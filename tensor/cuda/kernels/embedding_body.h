// SPDX-License-Identifier: Apache-2.0
// Rows of a table by id, and the gradient of the table.
#pragma once

#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

// y[r] = x[index[r]], zeros where the index is negative.
template <class M>
struct CopyRows {
  Rows<const M> x;
  const int32_t* index;
  Rows<M> y;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t row, void*) const {
    M* out = y[row];
    if (index[row] < 0) {
      team.each(y.cols, [&](int64_t i) { narrow(Wide<M>{0}, out + i); });
    } else {
      const M* in = x[index[row]];
      team.each(y.cols, [&](int64_t i) { out[i] = in[i]; });
    }
  }
};

// One row of the table looks for its id in all of ids, and adds its rows in order of N.
template <class M>
struct EmbeddingGrad {
  static constexpr int64_t kChunk = 32;  // ids looked at in one go
  const int32_t* ids;
  Rows<const M> dout;
  Rows<Wide<M>> dtable;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t row, void*) const {
    Wide<M>* sum = dtable[row];
    for (int64_t begin = 0; begin < dout.rows; begin += kChunk) {
      const int64_t count = min_of(kChunk, dout.rows - begin);
      const int64_t hit = team.first(count, [&](int64_t i) { return ids[begin + i] == row; });
      for (int64_t n = begin + hit; n < begin + count; ++n) {
        if (ids[n] != row) continue;
        const M* slope = dout[n];
        team.each(dout.cols, [&](int64_t i) { sum[i] += widen(slope[i]); });
      }
    }
  }
};

template <class M, class Exec>
int copy_rows(Exec& exec, const View& from, const View& at, const View& to) {
  const Rows<const M> x = rows_of<const M>(from);
  const Rows<M> y = rows_of<M>(to);
  if (const int status =
          check_ids(exec, flat_ids(at, y.rows), x.rows, "an index is beyond the last row"))
    return status;
  return exec.rows(y.rows, CopyRows<M>{x, data_of<const int32_t>(at), y});
}
template <class Exec>
int embedding(const BackendCall* call, const EmbeddingArgs* args) {
  Exec exec(call, "embedding");
  return with_dtype(exec, args->table.dtype, [&]<class M>(M) {
    return copy_rows<M>(exec, args->table, args->ids, args->out);
  });
}
template <class Exec>
int gather_rows(const BackendCall* call, const GatherRowsArgs* args) {
  Exec exec(call, "gather_rows");
  return with_dtype(exec, args->x.dtype,
                    [&]<class M>(M) { return copy_rows<M>(exec, args->x, args->index, args->y); });
}
template <class Exec>
int embedding_grad(const BackendCall* call, const EmbeddingGradArgs* args) {
  Exec exec(call, "embedding_grad");
  return with_dtype(exec, args->dout.dtype, [&]<class M>(M) {
    const Rows<const M> dout = rows_of<const M>(args->dout);
    const Rows<Wide<M>> dtable = rows_of<Wide<M>>(args->dtable);
    if (const int status = check_ids(exec, flat_ids(args->ids, dout.rows), dtable.rows,
                                     "an id is beyond the table"))
      return status;
    return exec.rows(dtable.rows,
                     EmbeddingGrad<M>{data_of<const int32_t>(args->ids), dout, dtable});
  });
}

}  // namespace orthant::cuda::kernels
