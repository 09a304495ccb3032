// SPDX-License-Identifier: Apache-2.0
// Gradient of causal attention: probabilities are computed again from the logsumexp of the forward
// pass.  One thread owns a KV head of a sequence, and adds dk and dv over documents, query heads,
// then query tiles, in order; dq adds over key blocks in order.
// Source: Dao et al., "FlashAttention", arXiv:2205.14135, algorithm 4.
#include "tensor/cpu/kernels/attention.h"
#include "tensor/cpu/kernels/kernels.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

// Scratch of one work item.  dk and dv are sums over all queries, the rest is of one document or
// one tile.
template <class T>
struct BackwardTiles {
  T *dk, *dv;
  T *keys_transposed, *values_transposed, *keys;
  T *q, *do_, *dq, *probs, *dscores, *lse, *delta;
  int64_t bytes;

  BackwardTiles(const AttentionArgs& args, void* base) {
    const int64_t ldk = padded<T>(args.qk_dim), ldv = padded<T>(args.v_dim), length = args.kv_len;
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
inline void probabilities_row(T* probs, T* dscores, KeyRange visible, T lse, T delta) {
  constexpr int kL = kLanes<T>;
  for (int64_t i = 0; i < kBlock; i += kL) {
    Vec<T> p = {}, ds = {};
    if (i < visible.end && visible.begin < i + kL) {
      const int64_t begin = visible.begin - i, end = visible.end - i;
      p = lanes_between<T>(exp_of(load(probs + i) - lse), begin, end, T{0});
      ds = lanes_between<T>(p * (load(dscores + i) - delta), begin, end, T{0});
    }
    store(probs + i, p);
    store(dscores + i, ds);
  }
}

// Query rows [tile, tile + rows) of a document.  The arrays of keys, dk and dv start at key
// `packed_from`.
template <class T>
[[gnu::flatten]] void gradient_tile(const AttentionArgs& args, const BackwardTiles<T>& tiles,
                                    const Document& document, int64_t tile, int64_t rows,
                                    int64_t packed_from, T* dk, T* dv) {
  constexpr int kL = kLanes<T>;
  const int64_t ldk = padded<T>(args.qk_dim), ldv = padded<T>(args.v_dim);
  for (int64_t i = 0; i < rows * ldk; ++i) tiles.dq[i] = 0;
  const KeyRange seen = document.blocks_seen_by(tile, tile + rows - 1);
  for (int64_t first = seen.begin; first < seen.end; first += kBlock) {
    const int64_t at = first - packed_from;
    for (int64_t row = 0; row < rows; row += kTileRows) {
      const int64_t group = min_of(kTileRows, rows - row), query = tile + row;
      const KeyRange any = document.seen_in_block(query, query + group - 1, first);
      const int64_t skip = any.begin / kL * kL, vectors = (any.end - skip + kL - 1) / kL;
      T* probs = tiles.probs + row * kBlock;
      T* dscores = tiles.dscores + row * kBlock;
      if (!any.is_empty()) {
        small_product<T>(group, vectors, args.qk_dim, {tiles.q + row * ldk, ldk, 1},
                         tiles.keys_transposed + at * args.qk_dim + skip, kBlock, probs + skip,
                         kBlock, false);
        small_product<T>(group, vectors, args.v_dim, {tiles.do_ + row * ldv, ldv, 1},
                         tiles.values_transposed + at * args.v_dim + skip, kBlock, dscores + skip,
                         kBlock, false);
      }
      for (int64_t r = 0; r < group; ++r)
        probabilities_row<T>(probs + r * kBlock, dscores + r * kBlock,
                             document.seen_in_block(query + r, query + r, first),
                             tiles.lse[row + r], tiles.delta[row + r]);
      if (!any.is_empty())
        small_product<T>(group, ldk / kL, any.end - any.begin, {dscores + any.begin, kBlock, 1},
                         tiles.keys + (at + any.begin) * ldk, ldk, tiles.dq + row * ldk, ldk, true);
    }
    const KeyRange keys = document.seen_in_block(tile, tile + rows - 1, first);
    for (int64_t key = keys.begin; key < keys.end; key += kTileRows) {
      const int64_t group = min_of(kTileRows, keys.end - key);
      // Queries before the first of these keys, and those whose window is past the last, have
      // nothing of them.
      const int64_t offset = first + key - document.shift - tile;
      const int64_t skip = max_of(0, offset);
      const int64_t depth = min_of(rows, offset + group - 1 + document.window) - skip;
      small_product<T>(group, ldv / kL, depth, {tiles.probs + skip * kBlock + key, 1, kBlock},
                       tiles.do_ + skip * ldv, ldv, dv + (at + key) * ldv, ldv, true);
      small_product<T>(group, ldk / kL, depth, {tiles.dscores + skip * kBlock + key, 1, kBlock},
                       tiles.q + skip * ldk, ldk, dk + (at + key) * ldk, ldk, true);
    }
  }
}

// to[row] = from[row] * factor, or += with accumulate
template <class G, class T>
[[gnu::flatten]] void write_rows(const T* from, int64_t rows, int64_t width, T factor, G* to,
                                 int64_t stride, bool accumulate) {
  for (int64_t r = 0; r < rows; ++r)
    for_each_vec<T>(width, [&](int64_t i, int64_t count) {
      G* at = to + r * stride + i;
      const Vec<T> x = load(from + r * padded<T>(width) + i) * factor;
      store(at, accumulate ? load(at, count) + x : x, count);
    });
}

// One KV head of one sequence.  G: of dq, dk and dv.
template <class M, class G>
class GradientOfHead {
 public:
  using T = Wide<M>;
  GradientOfHead(const AttentionGradArgs& grad, int64_t sequence, int64_t kv_head, void* space)
      : grad_(grad), sequence_(sequence), kv_head_(kv_head), tiles_(grad.forward, space) {}

  void run() const {
    const int64_t qk = args_.qk_dim, vd = args_.v_dim, keys = args_.kv_len;
    for (int64_t i = 0; i < keys * padded<T>(qk); ++i) tiles_.dk[i] = 0;
    for (int64_t i = 0; i < keys * padded<T>(vd); ++i) tiles_.dv[i] = 0;
    for (int64_t begin = 0; begin < args_.q_len;) {
      const Document document = next_document(args_, sequence_, begin, args_.q_len);
      add(document);
      begin = document.end;
    }
    const int64_t row = sequence_ * args_.kv_stride;
    const bool accumulate = grad_.accumulate != 0;
    write_rows<G, T>(tiles_.dk, keys, qk, T{1}, dk_[row] + kv_head_ * qk, dk_.stride, accumulate);
    write_rows<G, T>(tiles_.dv, keys, vd, T{1}, dv_[row] + kv_head_ * vd, dv_.stride, accumulate);
  }

 private:
  void add(const Document& document) const {
    const int64_t qk = args_.qk_dim, vd = args_.v_dim;
    const KeyRange seen = document.blocks_seen_by(document.begin, document.end - 1);
    if (seen.is_empty() && grad_.accumulate) return;
    const int64_t count = max_of(0, seen.end - seen.begin);
    const int64_t key_row = document.first_key + seen.begin;
    const M* k_rows = k_[key_row] + kv_head_ * qk;
    pack_transposed<M, T>(k_rows, k_.stride, count, qk, tiles_.keys_transposed);
    pack_transposed<M, T>(v_[key_row] + kv_head_ * vd, v_.stride, count, vd,
                          tiles_.values_transposed);
    pack_rows<M, T>(k_rows, k_.stride, count, qk, T{1}, tiles_.keys);
    const int64_t group = args_.heads / args_.kv_heads;
    for (int64_t head = kv_head_ * group; head < (kv_head_ + 1) * group; ++head)
      for (int64_t tile = document.begin; tile < document.end; tile += kBlock)
        add_tile(document, tile, min_of(kBlock, document.end - tile), head, seen.begin,
                 key_row - sequence_ * args_.kv_stride);
  }
  // The keys of the document that it sees are packed from packed_from on; that key is key_index of
  // the sequence's.
  void add_tile(const Document& document, int64_t tile, int64_t rows, int64_t head,
                int64_t packed_from, int64_t key_index) const {
    const int64_t qk = args_.qk_dim, vd = args_.v_dim, row = sequence_ * args_.q_stride + tile;
    const T scale = static_cast<T>(args_.scale);
    pack_rows<M, T>(q_[row] + head * qk, q_.stride, rows, qk, scale, tiles_.q);
    pack_rows<M, T>(do_[row] + head * vd, do_.stride, rows, vd, T{1}, tiles_.do_);
    for (int64_t r = 0; r < rows; ++r) {
      tiles_.lse[r] = lse_[row + r][head];
      tiles_.delta[r] = dot<M, T>(do_[row + r] + head * vd, o_[row + r] + head * vd, vd);
    }
    gradient_tile<T>(args_, tiles_, document, tile, rows, packed_from,
                     tiles_.dk + key_index * padded<T>(qk), tiles_.dv + key_index * padded<T>(vd));
    write_rows<G, T>(tiles_.dq, rows, qk, scale, dq_[row] + head * qk, dq_.stride,
                     grad_.accumulate != 0);
  }

  const AttentionGradArgs& grad_;
  const AttentionArgs& args_ = grad_.forward;
  int64_t sequence_, kv_head_;
  BackwardTiles<T> tiles_;
  Rows<M> q_ = rows_of<M>(args_.q), k_ = rows_of<M>(args_.k), v_ = rows_of<M>(args_.v);
  Rows<M> o_ = rows_of<M>(args_.o), do_ = rows_of<M>(grad_.do_);
  Rows<G> dq_ = rows_of<G>(grad_.dq), dk_ = rows_of<G>(grad_.dk), dv_ = rows_of<G>(grad_.dv);
  Rows<T> lse_ = rows_of<T>(args_.lse);
};

template <class M, class G>
int gradient(const BackendCall* call, const AttentionGradArgs& args) {
  const AttentionArgs& forward = args.forward;
  const int64_t bytes = BackwardTiles<Wide<M>>(forward, nullptr).bytes;
  bool out_of_memory = false;
  parallel_for_each(forward.batch * forward.kv_heads, [&](int64_t item) {
    void* space = scratch(Scratch::kLocal, bytes);
    if (!space) {
      __atomic_store_n(&out_of_memory, true, __ATOMIC_RELAXED);
      return;
    }
    GradientOfHead<M, G>(args, item / forward.kv_heads, item % forward.kv_heads, space).run();
  });
  return out_of_memory ? fail(call, "attention_grad", "out of memory") : 0;
}

int attention_grad(const BackendCall* call, const AttentionGradArgs* args) {
  const AttentionArgs& forward = args->forward;
  if (forward.kv_heads <= 0 || forward.heads % forward.kv_heads)
    return fail(call, "attention_grad", "the query heads are no multiple of the KV heads");
  return with_dtype(call, "attention_grad", forward.q.dtype, [&]<class M>(M) {
    return args->accumulate ? gradient<M, Wide<M>>(call, *args) : gradient<M, M>(call, *args);
  });
}

}  // namespace

void fill_attention_grad(Backend& table) { table.attention_grad = attention_grad; }

}  // namespace orthant::cpu::ORTHANT_ISA
