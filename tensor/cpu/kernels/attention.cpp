// SPDX-License-Identifier: Apache-2.0
// Causal attention with an online softmax; no T x T matrix.
// Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867;
// Dao et al., "FlashAttention", arXiv:2205.14135.
#include "tensor/cpu/kernels/attention.h"

#include "tensor/cpu/kernels/kernels.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

// Scratch of one work item.
template <class T>
struct ForwardTiles {
  T *keys, *values;  // transposed blocks, and rows, of one document
  T *q, *o, *scores, *max, *sum;
  int64_t bytes;

  ForwardTiles(const AttentionArgs& args, int64_t num_keys, void* base) {
    Carver<T> carver(base);
    keys = carver.take(blocks_of(num_keys) * kBlock * args.qk_dim);
    values = carver.take(num_keys * padded<T>(args.v_dim));
    q = carver.take(kBlock * padded<T>(args.qk_dim));
    o = carver.take(kBlock * padded<T>(args.v_dim));
    scores = carver.take(kTileRows * kBlock);
    max = carver.take(kBlock);
    sum = carver.take(kBlock);
    bytes = carver.bytes();
  }
};

// Adds one row's scores of one block, `visible` of them, to its online softmax: scores become
// exp(score - max), o and the sum are rescaled when the maximum moves.
template <class T>
inline void softmax_step(T* scores, int64_t visible, T* max, T* sum, T* o, int64_t o_vectors) {
  constexpr int kL = kLanes<T>;
  const int64_t vectors = (visible + kL - 1) / kL;
  Vec<T> best = splat(*max);
  for (int64_t v = 0; v < vectors; ++v) {
    const Vec<T> s =
        first_lanes<T>(load(scores + v * kL), visible - v * kL, static_cast<T>(-kInfinity));
    store(scores + v * kL, s);
    best = larger<T>(s, best);
  }
  const T new_max = max_lanes<T>(best);
  Vec<T> total = {};
  for (int64_t v = 0; v < vectors; ++v) {
    const Vec<T> p = exp_of(load(scores + v * kL) - new_max);
    store(scores + v * kL, p);
    total += p;
  }
  if (new_max != *max) {
    const T factor = exp_of(splat(*max - new_max))[0];
    *sum *= factor;
    *max = new_max;
    for (int64_t v = 0; v < o_vectors; ++v) store(o + v * kL, load(o + v * kL) * factor);
  }
  *sum += sum_lanes<T>(total);
}

// Queries [0, rows) of a tile, the first at `position` (counted from the document's first key).
template <class T>
[[gnu::flatten]] void attend_tile(const AttentionArgs& args, const ForwardTiles<T>& tiles,
                                  int64_t rows, int64_t position) {
  const int64_t ldq = padded<T>(args.qk_dim), ldv = padded<T>(args.v_dim);
  const int64_t v_vectors = ldv / kLanes<T>;
  for (int64_t r = 0; r < rows; ++r) {
    tiles.max[r] = static_cast<T>(-kInfinity);
    tiles.sum[r] = 0;
  }
  for (int64_t i = 0; i < rows * ldv; ++i) tiles.o[i] = 0;
  for (int64_t first = 0; first < position + rows; first += kBlock) {
    const T* keys = tiles.keys + first * args.qk_dim;
    const T* values = tiles.values + first * ldv;
    for (int64_t row = 0; row < rows; row += kTileRows) {
      const int64_t group = min_of(kTileRows, rows - row);
      const int64_t most = visible_keys(position + row + group - 1, first);
      if (most == 0) continue;
      small_product<T>(group, (most + kLanes<T> - 1) / kLanes<T>, args.qk_dim,
                       {tiles.q + row * ldq, ldq, 1}, keys, kBlock, tiles.scores, kBlock, false);
      int64_t fewest = most;  // keys that all rows of the group see
      for (int64_t r = 0; r < group; ++r) {
        const int64_t visible = visible_keys(position + row + r, first);
        if (r == 0) fewest = visible;
        if (visible > 0)
          softmax_step<T>(tiles.scores + r * kBlock, visible, tiles.max + row + r,
                          tiles.sum + row + r, tiles.o + (row + r) * ldv, v_vectors);
      }
      T* o = tiles.o + row * ldv;
      small_product<T>(group, v_vectors, fewest, {tiles.scores, kBlock, 1}, values, ldv, o, ldv,
                       true);
      for (int64_t r = 1; r < group; ++r) {
        const int64_t visible = visible_keys(position + row + r, first);
        if (visible > fewest)
          small_product<T>(1, v_vectors, visible - fewest,
                           {tiles.scores + r * kBlock + fewest, kBlock, 1}, values + fewest * ldv,
                           ldv, o + r * ldv, ldv, true);
      }
    }
  }
}

template <class M, class T>
[[gnu::flatten]] void write_output(const ForwardTiles<T>& tiles, int64_t row, int64_t width, M* o,
                                   T* lse) {
  const T sum = tiles.sum[row];
  const T factor = sum == 0 ? T{0} : T{1} / sum;
  const T* from = tiles.o + row * padded<T>(width);
  for_each_vec<T>(width,
                  [&](int64_t i, int64_t count) { store(o + i, load(from + i) * factor, count); });
  if (lse) *lse = tiles.max[row] + log_of(sum);
}

// All query heads of one KV head of one sequence.
template <class M, class T>
void attend_item(const AttentionArgs& args, int64_t sequence, int64_t kv_head,
                 const ForwardTiles<T>& tiles) {
  const Rows<M> q = rows_of<M>(args.q), k = rows_of<M>(args.k), v = rows_of<M>(args.v);
  const Rows<M> o = rows_of<M>(args.o);
  const Rows<T> lse = rows_of<T>(args.lse);
  const int64_t group = args.heads / args.kv_heads;
  for (int64_t begin = 0; begin < args.q_len;) {
    const Document document = next_document(args, sequence, begin);
    begin = document.end;
    const int64_t key_row = sequence * args.kv_stride + document.first_key;
    const int64_t shift = args.q_offset - document.first_key;  // of a query's row to its position
    const int64_t num_keys = max_of(0, document.end + shift);
    pack_transposed<M, T>(k[key_row] + kv_head * args.qk_dim, k.stride, num_keys, args.qk_dim,
                          tiles.keys);
    pack_rows<M, T>(v[key_row] + kv_head * args.v_dim, v.stride, num_keys, args.v_dim, T{1},
                    tiles.values);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (int64_t first = document.begin; first < document.end; first += kBlock) {
        const int64_t rows = min_of(kBlock, document.end - first);
        const int64_t row = sequence * args.q_len + first;
        pack_rows<M, T>(q[row] + head * args.qk_dim, q.stride, rows, args.qk_dim,
                        static_cast<T>(args.scale), tiles.q);
        attend_tile<T>(args, tiles, rows, first + shift);
        for (int64_t r = 0; r < rows; ++r)
          write_output<M, T>(tiles, r, args.v_dim, o[row + r] + head * args.v_dim,
                             lse.data ? lse[row + r] + head : nullptr);
      }
    }
  }
}

int attention(const BackendCall* call, const AttentionArgs* args) {
  if (args->kv_heads <= 0 || args->heads % args->kv_heads)
    return fail(call, "attention", "the query heads are no multiple of the KV heads");
  return with_dtype(call, "attention", args->q.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const int64_t num_keys = args->q_offset + args->q_len;
    const int64_t bytes = ForwardTiles<T>(*args, num_keys, nullptr).bytes;
    bool out_of_memory = false;
    parallel_for_each(args->batch * args->kv_heads, [&](int64_t item) {
      void* space = scratch(Scratch::kLocal, bytes);
      if (!space) {
        __atomic_store_n(&out_of_memory, true, __ATOMIC_RELAXED);
        return;
      }
      attend_item<M, T>(*args, item / args->kv_heads, item % args->kv_heads,
                        ForwardTiles<T>(*args, num_keys, space));
    });
    return out_of_memory ? fail(call, "attention", "out of memory") : 0;
  });
}

}  // namespace

void fill_attention(Backend& table) { table.attention = attention; }

}  // namespace orthant::cpu::ORTHANT_ISA
