// SPDX-License-Identifier: Apache-2.0
// Gradient of causal attention: probabilities are computed again from the logsumexp of the forward
// pass.  One thread owns a KV head, and adds dk and dv over query heads, then query tiles, in
// order; dq adds over key blocks in order.
// Source: Dao et al., "FlashAttention", arXiv:2205.14135, algorithm 4.
#include "tensor/cpu/kernels/attention.h"
#include "tensor/cpu/kernels/kernels.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

// Scratch of one work item.  dk and dv are sums over the whole sequence, the rest is of one
// document or one tile.
template <class T>
struct BackwardTiles {
  T *dk, *dv;
  T *keys_transposed, *values_transposed, *keys;
  T *q, *do_, *dq, *probs, *dscores, *lse, *delta;
  int64_t bytes;

  BackwardTiles(const AttentionArgs& args, void* base) {
    const int64_t ldk = padded<T>(args.qk_dim), ldv = padded<T>(args.v_dim), length = args.q_len;
    Carver<T> carver(base);
    dk = carver.take(length * ldk);
    dv = carver.take(length * ldv);
    keys_transposed = carver.take(blocks_of(length) * kBlock * args.qk_dim);
    values_transposed = carver.take(blocks_of(length) * kBlock * args.v_dim);
    keys = carver.take(length * ldk);
    q = carver.take(kBlock * ldk);
    do_ = carver.take(kBlock * ldv);
    dq = carver.take(kBlock * ldk);
    probs = carver.take(kBlock * kBlock);
    dscores = carver.take(kBlock * kBlock);
    lse = carver.take(kBlock);
    delta = carver.take(kBlock);
    bytes = carver.bytes();
  }
};

template <class M, class T>
[[gnu::flatten]] T dot(const M* x, const M* y, int64_t n) {
  return sum_of<T>(
      n, [&](int64_t i, int64_t count) { return load(x + i, count) * load(y + i, count); });
}

// In: scores and dprobs of one row.  Out: probs and dscores = probs * (dprobs - delta), 0 where
// masked.
template <class T>
inline void probabilities_row(T* probs, T* dscores, int64_t visible, T lse, T delta) {
  constexpr int kL = kLanes<T>;
  for (int64_t i = 0; i < kBlock; i += kL) {
    Vec<T> p = {}, ds = {};
    if (i < visible) {
      p = first_lanes<T>(exp_of(load(probs + i) - lse), visible - i, T{0});
      ds = first_lanes<T>(p * (load(dscores + i) - delta), visible - i, T{0});
    }
    store(probs + i, p);
    store(dscores + i, ds);
  }
}

// Queries [0, rows) of a tile, the first at `position`, all counted from the document's first key.
template <class T>
[[gnu::flatten]] void gradient_tile(const AttentionArgs& args, const BackwardTiles<T>& tiles,
                                    int64_t rows, int64_t position, T* dk, T* dv) {
  constexpr int kL = kLanes<T>;
  const int64_t ldk = padded<T>(args.qk_dim), ldv = padded<T>(args.v_dim);
  for (int64_t i = 0; i < rows * ldk; ++i) tiles.dq[i] = 0;
  for (int64_t first = 0; first < position + rows; first += kBlock) {
    const T* keys_transposed = tiles.keys_transposed + first * args.qk_dim;
    const T* values_transposed = tiles.values_transposed + first * args.v_dim;
    for (int64_t row = 0; row < rows; row += kTileRows) {
      const int64_t group = min_of(kTileRows, rows - row);
      const int64_t most = visible_keys(position + row + group - 1, first);
      const int64_t vectors = (most + kL - 1) / kL;
      T* probs = tiles.probs + row * kBlock;
      T* dscores = tiles.dscores + row * kBlock;
      if (most > 0) {
        small_product<T>(group, vectors, args.qk_dim, {tiles.q + row * ldk, ldk, 1},
                         keys_transposed, kBlock, probs, kBlock, false);
        small_product<T>(group, vectors, args.v_dim, {tiles.do_ + row * ldv, ldv, 1},
                         values_transposed, kBlock, dscores, kBlock, false);
      }
      for (int64_t r = 0; r < group; ++r)
        probabilities_row<T>(probs + r * kBlock, dscores + r * kBlock,
                             visible_keys(position + row + r, first), tiles.lse[row + r],
                             tiles.delta[row + r]);
      if (most > 0)
        small_product<T>(group, ldk / kL, most, {dscores, kBlock, 1}, tiles.keys + first * ldk, ldk,
                         tiles.dq + row * ldk, ldk, true);
    }
    const int64_t num_keys = visible_keys(position + rows - 1, first);
    for (int64_t key = 0; key < num_keys; key += kTileRows) {
      const int64_t group = min_of(kTileRows, num_keys - key);
      const int64_t skip = max_of(0, first + key - position);  // queries before the key
      small_product<T>(group, ldv / kL, rows - skip, {tiles.probs + skip * kBlock + key, 1, kBlock},
                       tiles.do_ + skip * ldv, ldv, dv + (first + key) * ldv, ldv, true);
      small_product<T>(group, ldk / kL, rows - skip,
                       {tiles.dscores + skip * kBlock + key, 1, kBlock}, tiles.q + skip * ldk, ldk,
                       dk + (first + key) * ldk, ldk, true);
    }
  }
}

// to[row] = from[row] * factor
template <class M, class T>
[[gnu::flatten]] void write_rows(const T* from, int64_t rows, int64_t width, T factor, M* to,
                                 int64_t stride) {
  for (int64_t r = 0; r < rows; ++r)
    for_each_vec<T>(width, [&](int64_t i, int64_t count) {
      store(to + r * stride + i, load(from + r * padded<T>(width) + i) * factor, count);
    });
}

template <class M, class T>
void gradient_item(const AttentionGradArgs& grad, int64_t sequence, int64_t kv_head,
                   const BackwardTiles<T>& tiles) {
  const AttentionArgs& args = grad.forward;
  const Rows<M> q = rows_of<M>(args.q), k = rows_of<M>(args.k), v = rows_of<M>(args.v);
  const Rows<M> o = rows_of<M>(args.o), do_ = rows_of<M>(grad.do_);
  const Rows<M> dq = rows_of<M>(grad.dq), dk = rows_of<M>(grad.dk), dv = rows_of<M>(grad.dv);
  const Rows<T> lse = rows_of<T>(args.lse);
  const int64_t qk = args.qk_dim, vd = args.v_dim, length = args.q_len;
  const int64_t ldk = padded<T>(qk), ldv = padded<T>(vd), group = args.heads / args.kv_heads;
  const int64_t base = sequence * length;
  const T scale = static_cast<T>(args.scale);
  for (int64_t i = 0; i < length * ldk; ++i) tiles.dk[i] = 0;
  for (int64_t i = 0; i < length * ldv; ++i) tiles.dv[i] = 0;
  for (int64_t begin = 0; begin < length;) {
    const Document document = next_document(args, sequence, begin);
    begin = document.end;
    const int64_t start = document.first_key, num_keys = max_of(0, document.end - start);
    const M* k_rows = k[base + start] + kv_head * qk;
    pack_transposed<M, T>(k_rows, k.stride, num_keys, qk, tiles.keys_transposed);
    pack_transposed<M, T>(v[base + start] + kv_head * vd, v.stride, num_keys, vd,
                          tiles.values_transposed);
    pack_rows<M, T>(k_rows, k.stride, num_keys, qk, T{1}, tiles.keys);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (int64_t first = document.begin; first < document.end; first += kBlock) {
        const int64_t rows = min_of(kBlock, document.end - first), row = base + first;
        pack_rows<M, T>(q[row] + head * qk, q.stride, rows, qk, scale, tiles.q);
        pack_rows<M, T>(do_[row] + head * vd, do_.stride, rows, vd, T{1}, tiles.do_);
        for (int64_t r = 0; r < rows; ++r) {
          tiles.lse[r] = lse[row + r][head];
          tiles.delta[r] = dot<M, T>(do_[row + r] + head * vd, o[row + r] + head * vd, vd);
        }
        gradient_tile<T>(args, tiles, rows, first - start, tiles.dk + start * ldk,
                         tiles.dv + start * ldv);
        write_rows<M, T>(tiles.dq, rows, qk, scale, dq[row] + head * qk, dq.stride);
      }
    }
  }
  write_rows<M, T>(tiles.dk, length, qk, T{1}, dk[base] + kv_head * qk, dk.stride);
  write_rows<M, T>(tiles.dv, length, vd, T{1}, dv[base] + kv_head * vd, dv.stride);
}

int attention_grad(const BackendCall* call, const AttentionGradArgs* args) {
  const AttentionArgs& forward = args->forward;
  if (forward.q_offset != 0 || forward.kv_stride != forward.q_len)
    return fail(call, "attention_grad", "wants q_offset 0 and kv_stride equal to q_len");
  if (forward.kv_heads <= 0 || forward.heads % forward.kv_heads)
    return fail(call, "attention_grad", "the query heads are no multiple of the KV heads");
  return with_dtype(call, "attention_grad", forward.q.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const int64_t bytes = BackwardTiles<T>(forward, nullptr).bytes;
    bool out_of_memory = false;
    parallel_for_each(forward.batch * forward.kv_heads, [&](int64_t item) {
      void* space = scratch(Scratch::kLocal, bytes);
      if (!space) {
        __atomic_store_n(&out_of_memory, true, __ATOMIC_RELAXED);
        return;
      }
      gradient_item<M, T>(*args, item / forward.kv_heads, item % forward.kv_heads,
                          BackwardTiles<T>(forward, space));
    });
    return out_of_memory ? fail(call, "attention_grad", "out of memory") : 0;
  });
}

}  // namespace

void fill_attention_grad(Backend& table) { table.attention_grad = attention_grad; }

}  // namespace orthant::cpu::ORTHANT_ISA
