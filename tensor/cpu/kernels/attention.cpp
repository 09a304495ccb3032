// SPDX-License-Identifier: Apache-2.0
// Causal attention with an online softmax; no T x T matrix.
// Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867;
// Dao et al., "FlashAttention", arXiv:2205.14135.
#include "tensor/cpu/kernels/attention.h"

#include "tensor/cpu/kernels/kernels.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

// Scratch of one work item: a tile of queries of each of the heads that share a KV head.
template <class T>
struct ForwardTiles {
  T *keys, *values;  // transposed blocks, and rows: of a document, or of one block of it
  T *q, *o, *scores, *max, *sum;
  int64_t bytes;

  ForwardTiles(const AttentionArgs& args, void* base) {
    const int64_t group = args.heads / args.kv_heads;
    const int64_t num_keys =
        packs_whole_document(args.q_len) ? blocks_of(args.q_offset + args.q_len) * kBlock : kBlock;
    Carver<T> carver(base);
    keys = carver.take(num_keys * args.qk_dim);
    values = carver.take(num_keys * padded<T>(args.v_dim));
    q = carver.take(group * kBlock * padded<T>(args.qk_dim));
    o = carver.take(group * kBlock * padded<T>(args.v_dim));
    scores = carver.take(kTileRows * kBlock);
    max = carver.take(group * kBlock);
    sum = carver.take(group * kBlock);
    bytes = carver.bytes();
  }
  // Keys that only one tile of queries sees are packed block by block, and stay in the cache.
  static bool packs_whole_document(int64_t num_queries) { return num_queries > kBlock; }
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

// The part of one block of keys in queries [0, rows) of a tile; the first query is at `position`,
// the first key at `first`, counted from the document's first key.
template <class T>
[[gnu::flatten]] void attend_block(const AttentionArgs& args, const T* keys, const T* values,
                                   const ForwardTiles<T>& tiles, int64_t tile, int64_t rows,
                                   int64_t position, int64_t first) {
  const int64_t ldq = padded<T>(args.qk_dim), ldv = padded<T>(args.v_dim);
  const int64_t v_vectors = ldv / kLanes<T>;
  for (int64_t row = 0; row < rows; row += kTileRows) {
    const int64_t group = min_of(kTileRows, rows - row), slot = tile * kBlock + row;
    const int64_t most = visible_keys(position + row + group - 1, first);
    if (most == 0) continue;
    small_product<T>(group, (most + kLanes<T> - 1) / kLanes<T>, args.qk_dim,
                     {tiles.q + slot * ldq, ldq, 1}, keys, kBlock, tiles.scores, kBlock, false);
    for (int64_t r = 0; r < group; ++r) {
      const int64_t visible = visible_keys(position + row + r, first);
      if (visible > 0)
        softmax_step<T>(tiles.scores + r * kBlock, visible, tiles.max + slot + r,
                        tiles.sum + slot + r, tiles.o + (slot + r) * ldv, v_vectors);
    }
    // First the keys that all rows of the group see, then what the later rows see beyond.
    const int64_t fewest = visible_keys(position + row, first);
    T* o = tiles.o + slot * ldv;
    small_product<T>(group, v_vectors, fewest, {tiles.scores, kBlock, 1}, values, ldv, o, ldv,
                     true);
    for (int64_t r = 1; r < group; ++r) {
      const int64_t beyond = visible_keys(position + row + r, first) - fewest;
      if (beyond > 0)
        small_product<T>(1, v_vectors, beyond, {tiles.scores + r * kBlock + fewest, kBlock, 1},
                         values + fewest * ldv, ldv, o + r * ldv, ldv, true);
    }
  }
}

template <class M, class T>
[[gnu::flatten]] void write_output(const ForwardTiles<T>& tiles, int64_t slot, int64_t width, M* o,
                                   T* lse) {
  const T sum = tiles.sum[slot];
  const T factor = sum == 0 ? T{0} : T{1} / sum;
  const T* from = tiles.o + slot * padded<T>(width);
  for_each_vec<T>(width,
                  [&](int64_t i, int64_t count) { store(o + i, load(from + i) * factor, count); });
  if (lse) *lse = tiles.max[slot] + log_of(sum);
}

// All query heads of one KV head of one sequence.
template <class M, class T>
void attend_item(const AttentionArgs& args, int64_t sequence, int64_t kv_head,
                 const ForwardTiles<T>& tiles) {
  const Rows<M> q = rows_of<M>(args.q), k = rows_of<M>(args.k), v = rows_of<M>(args.v);
  const Rows<M> o = rows_of<M>(args.o);
  const Rows<T> lse = rows_of<T>(args.lse);
  const int64_t qk = args.qk_dim, vd = args.v_dim, ldv = padded<T>(vd);
  const int64_t group = args.heads / args.kv_heads;
  for (int64_t begin = 0; begin < args.q_len;) {
    const Document document = next_document(args, sequence, begin);
    begin = document.end;
    const int64_t key_row = sequence * args.kv_stride + document.first_key;
    const int64_t shift = args.q_offset - document.first_key;  // of a query's row to its position
    const M* k_rows = k[key_row] + kv_head * qk;
    const M* v_rows = v[key_row] + kv_head * vd;
    const bool whole = tiles.packs_whole_document(document.end - document.begin);
    const auto pack = [&](int64_t first, int64_t count) {
      pack_transposed<M, T>(k_rows + first * k.stride, k.stride, count, qk, tiles.keys);
      pack_rows<M, T>(v_rows + first * v.stride, v.stride, count, vd, T{1}, tiles.values);
    };
    if (whole) pack(0, document.end + shift);
    for (int64_t tile = document.begin; tile < document.end; tile += kBlock) {
      const int64_t rows = min_of(kBlock, document.end - tile), num_keys = tile + rows + shift;
      const int64_t row = sequence * args.q_len + tile;
      for (int64_t h = 0; h < group; ++h) {
        const M* q_rows = q[row] + (kv_head * group + h) * qk;
        pack_rows<M, T>(q_rows, q.stride, rows, qk, static_cast<T>(args.scale),
                        tiles.q + h * kBlock * padded<T>(qk));
        for (int64_t i = h * kBlock; i < h * kBlock + rows; ++i) {
          tiles.max[i] = static_cast<T>(-kInfinity);
          tiles.sum[i] = 0;
        }
        for (int64_t i = h * kBlock * ldv; i < (h * kBlock + rows) * ldv; ++i) tiles.o[i] = 0;
      }
      for (int64_t first = 0; first < num_keys; first += kBlock) {
        if (!whole) pack(first, min_of(kBlock, num_keys - first));
        for (int64_t h = 0; h < group; ++h)
          attend_block<T>(args, tiles.keys + (whole ? first * qk : 0),
                          tiles.values + (whole ? first * ldv : 0), tiles, h, rows, tile + shift,
                          first);
      }
      for (int64_t h = 0; h < group; ++h) {
        const int64_t head = kv_head * group + h;
        for (int64_t r = 0; r < rows; ++r)
          write_output<M, T>(tiles, h * kBlock + r, vd, o[row + r] + head * vd,
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
    const int64_t bytes = ForwardTiles<T>(*args, nullptr).bytes;
    bool out_of_memory = false;
    parallel_for_each(args->batch * args->kv_heads, [&](int64_t item) {
      void* space = scratch(Scratch::kLocal, bytes);
      if (!space) {
        __atomic_store_n(&out_of_memory, true, __ATOMIC_RELAXED);
        return;
      }
      attend_item<M, T>(*args, item / args->kv_heads, item % args->kv_heads,
                        ForwardTiles<T>(*args, space));
    });
    return out_of_memory ? fail(call, "attention", "out of memory") : 0;
  });
}

}  // namespace

void fill_attention(Backend& table) { table.attention = attention; }

}  // namespace orthant::cpu::ORTHANT_ISA
