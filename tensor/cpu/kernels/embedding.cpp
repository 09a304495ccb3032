// SPDX-License-Identifier: Apache-2.0
// Rows of a table by id, and the gradient of the table.
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

// y[r] = x[index[r]], zeros where the index is negative.
template <class M>
int copy_rows(const BackendCall* call, const char* op, const View& from, const View& at,
              const View& to) {
  const Rows<M> x = rows_of<M>(from), y = rows_of<M>(to);
  const int32_t* index = static_cast<const int32_t*>(at.data);
  for (int64_t r = 0; r < y.rows; ++r)
    if (index[r] >= x.rows) return fail(call, op, "an index is beyond the last row");
  const size_t bytes = static_cast<size_t>(y.cols) * sizeof(M);
  for_rows(y.rows, y.cols, [&](int64_t r) {
    if (index[r] < 0) {
      __builtin_memset(static_cast<void*>(y[r]), 0, bytes);
    } else {
      __builtin_memcpy(static_cast<void*>(y[r]), x[index[r]], bytes);
    }
  });
  return 0;
}

template <class M, class T>
void add_row(const M* x, T* y, int64_t begin, int64_t end) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) y[i] += widen(x[i]);
}

int embedding(const BackendCall* call, const EmbeddingArgs* args) {
  return with_dtype(call, "embedding", args->table.dtype, [&]<class M>(M) {
    return copy_rows<M>(call, "embedding", args->table, args->ids, args->out);
  });
}

// Threads share out the columns, so that the rows of an id are added in order of N.
int embedding_grad(const BackendCall* call, const EmbeddingGradArgs* args) {
  return with_dtype(call, "embedding_grad", args->dout.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const Rows<M> dout = rows_of<M>(args->dout);
    const Rows<T> dtable = rows_of<T>(args->dtable);
    const int32_t* ids = static_cast<const int32_t*>(args->ids.data);
    for (int64_t r = 0; r < dout.rows; ++r)
      if (ids[r] >= dtable.rows) return fail(call, "embedding_grad", "an id is beyond the table");
    const int64_t grain = max_of(64, kElementsPerPiece / max_of(1, dout.rows) / 64 * 64);
    parallel_for(dout.cols, grain, [&](int64_t begin, int64_t end) {
      for (int64_t r = 0; r < dout.rows; ++r)
        if (ids[r] >= 0) add_row<M, T>(dout[r], dtable[ids[r]], begin, end);
    });
    return 0;
  });
}

int gather_rows(const BackendCall* call, const GatherRowsArgs* args) {
  return with_dtype(call, "gather_rows", args->x.dtype, [&]<class M>(M) {
    return copy_rows<M>(call, "gather_rows", args->x, args->index, args->y);
  });
}

}  // namespace

void fill_embedding(Backend& table) {
  table.embedding = embedding;
  table.embedding_grad = embedding_grad;
  table.gather_rows = gather_rows;
}

}  // namespace orthant::cpu::ORTHANT_ISA
