// SPDX-License-Identifier: Apache-2.0
// Causal attention with an online softmax; no T x T matrix.
// Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867;
// Dao et al., "FlashAttention", arXiv:2205.14135.
#include "tensor/cpu/kernels/attention.h"

#include "tensor/cpu/kernels/kernels.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

// Query rows of a work item: so many that packing keys costs little, so few that their sums stay in
// the cache.
int64_t span_of(const AttentionArgs& args) {
  constexpr int64_t kBlocksOfAllHeads = 8;
  return kBlock * max_of(1, kBlocksOfAllHeads / (args.heads / args.kv_heads));
}

// Scratch of one work item: a span of queries of each of the heads that share a KV head, and one
// block of keys.
template <class T>
struct ForwardTiles {
  T *keys, *values;  // transposed, and rows
  T *q, *o, *scores, *max, *sum;
  int64_t bytes;

  ForwardTiles(const AttentionArgs& args, void* base) {
    const int64_t slots = args.heads / args.kv_heads * span_of(args);
    Carver<T> carver(base);
    keys = carver.take(kBlock * args.qk_dim);
    values = carver.take(kBlock * padded<T>(args.v_dim));
    q = carver.take(slots * padded<T>(args.qk_dim));
    o = carver.take(slots * padded<T>(args.v_dim));
    scores = carver.take(kTileRows * kBlock);
    max = carver.take(slots);
    sum = carver.take(slots);
    bytes = carver.bytes();
  }
};

// Adds one row's scores of the visible keys of one block to its online softmax: scores become
// exp(score - max), o and the sum are rescaled when the maximum moves.
template <class T>
inline void softmax_step(T* scores, KeyRange visible, T* max, T* sum, T* o, int64_t o_vectors) {
  constexpr int kL = kLanes<T>;
  const int64_t first = visible.begin / kL, last = (visible.end + kL - 1) / kL;
  Vec<T> best = splat(*max);
  for (int64_t v = first; v < last; ++v) {
    const Vec<T> s = lanes_between<T>(load(scores + v * kL), visible.begin - v * kL,
                                      visible.end - v * kL, static_cast<T>(-kInfinity));
    store(scores + v * kL, s);
    best = larger<T>(s, best);
  }
  const T new_max = max_lanes<T>(best);
  Vec<T> total = {};
  for (int64_t v = first; v < last; ++v) {
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

// The part of the block of keys that starts at `first` in all queries of the document, which stand
// in slots from `slot` on.
template <class T>
[[gnu::flatten]] void attend_block(const AttentionArgs& args, const ForwardTiles<T>& tiles,
                                   const Document& document, int64_t slot, int64_t first) {
  constexpr int kL = kLanes<T>;
  const int64_t ldq = padded<T>(args.qk_dim), ldv = padded<T>(args.v_dim);
  for (int64_t row = document.begin; row < document.end; row += kTileRows, slot += kTileRows) {
    const int64_t group = min_of(kTileRows, document.end - row);
    const KeyRange any = document.seen_in_block(row, row, first);
    const KeyRange last = document.seen_in_block(row + group - 1, row + group - 1, first);
    if (any.begin >= last.end) continue;
    const int64_t skip = any.begin / kL * kL;
    small_product<T>(group, (last.end - skip + kL - 1) / kL, args.qk_dim,
                     {tiles.q + slot * ldq, ldq, 1}, tiles.keys + skip, kBlock, tiles.scores + skip,
                     kBlock, false);
    T* o = tiles.o + slot * ldv;
    const auto add_values = [&](int64_t r, int64_t rows, int64_t begin, int64_t end) {
      if (begin < end)
        small_product<T>(rows, ldv / kL, end - begin,
                         {tiles.scores + r * kBlock + begin, kBlock, 1}, tiles.values + begin * ldv,
                         ldv, o + r * ldv, ldv, true);
    };
    // Of each row in ascending order: what it sees before the keys that all rows of the group see,
    // those, and what it sees beyond.
    const KeyRange all = {last.begin, max_of(last.begin, any.end)};
    for (int64_t r = 0; r < group; ++r) {
      const KeyRange visible = document.seen_in_block(row + r, row + r, first);
      if (visible.is_empty()) continue;
      softmax_step<T>(tiles.scores + r * kBlock, visible, tiles.max + slot + r,
                      tiles.sum + slot + r, o + r * ldv, ldv / kL);
      add_values(r, 1, visible.begin, min_of(visible.end, all.begin));
    }
    add_values(0, group, all.begin, all.end);
    for (int64_t r = 1; r < group; ++r)
      add_values(r, 1, all.end, document.seen_in_block(row + r, row + r, first).end);
  }
}

// A span of query rows [begin, end) of a sequence, all query heads of one KV head.  O: of o.
template <class M, class O>
class AttendSpan {
 public:
  using T = Wide<M>;
  AttendSpan(const AttentionArgs& args, int64_t sequence, int64_t kv_head, void* space)
      : args_(args), sequence_(sequence), kv_head_(kv_head), tiles_(args, space) {}

  void run(int64_t begin, int64_t end) const {
    while (begin < end) {
      const Document document = next_document(args_, sequence_, begin, end);
      attend(document);
      begin = document.end;
    }
  }

 private:
  void attend(const Document& document) const {
    const KeyRange seen = document.blocks_seen_by(document.begin, document.end - 1);
    if (seen.is_empty() && args_.accumulate) return;
    for_each_row(document,
                 [&](int64_t row, int64_t head, int64_t slot) { begin_row(row, head, slot); });
    for (int64_t first = seen.begin; first < seen.end; first += kBlock) {
      pack(document.first_key + first, min_of(kBlock, seen.end - first));
      for (int64_t h = 0; h < group(); ++h)
        attend_block<T>(args_, tiles_, document, h * span_of(args_), first);
    }
    for_each_row(document,
                 [&](int64_t row, int64_t head, int64_t slot) { end_row(row, head, slot); });
  }
  template <class F>
  void for_each_row(const Document& document, F f) const {
    for (int64_t h = 0; h < group(); ++h)
      for (int64_t r = document.begin; r < document.end; ++r)
        f(sequence_ * args_.q_stride + r, kv_head_ * group() + h,
          h * span_of(args_) + r - document.begin);
  }
  void pack(int64_t row, int64_t count) const {
    const int64_t qk = args_.qk_dim, vd = args_.v_dim;
    pack_transposed<M, T>(k_[row] + kv_head_ * qk, k_.stride, count, qk, tiles_.keys);
    pack_rows<M, T>(v_[row] + kv_head_ * vd, v_.stride, count, vd, T{1}, tiles_.values);
  }
  [[gnu::flatten]] void begin_row(int64_t row, int64_t head, int64_t slot) const {
    const int64_t qk = args_.qk_dim, vd = args_.v_dim, ldv = padded<T>(vd);
    pack_rows<M, T>(q_[row] + head * qk, 0, 1, qk, static_cast<T>(args_.scale),
                    tiles_.q + slot * padded<T>(qk));
    T* o = tiles_.o + slot * ldv;
    tiles_.max[slot] = args_.accumulate ? lse_[row][head] : static_cast<T>(-kInfinity);
    tiles_.sum[slot] = tiles_.max[slot] == static_cast<T>(-kInfinity) ? T{0} : T{1};
    for (int64_t i = 0; i < ldv; ++i) o[i] = 0;
    if (args_.accumulate) pack_rows<O, T>(o_[row] + head * vd, 0, 1, vd, T{1}, o);
  }
  [[gnu::flatten]] void end_row(int64_t row, int64_t head, int64_t slot) const {
    const int64_t vd = args_.v_dim;
    const T sum = tiles_.sum[slot];
    const T factor = sum == 0 ? T{0} : T{1} / sum;
    const T* from = tiles_.o + slot * padded<T>(vd);
    O* to = o_[row] + head * vd;
    for_each_vec<T>(
        vd, [&](int64_t i, int64_t count) { store(to + i, load(from + i) * factor, count); });
    if (lse_.data) lse_[row][head] = tiles_.max[slot] + log_of(sum);
  }
  int64_t group() const { return args_.heads / args_.kv_heads; }

  const AttentionArgs& args_;
  int64_t sequence_, kv_head_;
  ForwardTiles<T> tiles_;
  Rows<M> q_ = rows_of<M>(args_.q), k_ = rows_of<M>(args_.k), v_ = rows_of<M>(args_.v);
  Rows<O> o_ = rows_of<O>(args_.o);
  Rows<T> lse_ = rows_of<T>(args_.lse);
};

template <class M, class O>
int attend(const BackendCall* call, const AttentionArgs& args) {
  const int64_t bytes = ForwardTiles<Wide<M>>(args, nullptr).bytes;
  const int64_t span = span_of(args), spans = (args.q_len + span - 1) / span;
  bool out_of_memory = false;
  parallel_for_each(args.batch * args.kv_heads * spans, [&](int64_t item) {
    void* space = scratch(Scratch::kLocal, bytes);
    if (!space) {
      __atomic_store_n(&out_of_memory, true, __ATOMIC_RELAXED);
      return;
    }
    // Later spans see more keys: they are begun first.
    const int64_t begin = (spans - 1 - item % spans) * span, head = item / spans;
    AttendSpan<M, O>(args, head / args.kv_heads, head % args.kv_heads, space)
        .run(begin, min_of(begin + span, args.q_len));
  });
  return out_of_memory ? fail(call, "attention", "out of memory") : 0;
}

int attention(const BackendCall* call, const AttentionArgs* args) {
  if (args->kv_heads <= 0 || args->heads % args->kv_heads)
    return fail(call, "attention", "the query heads are no multiple of the KV heads");
  if (args->accumulate && !args->lse.data)
    return fail(call, "attention", "lse is needed to accumulate");
  return with_dtype(call, "attention", args->q.dtype, [&]<class M>(M) {
    return args->accumulate ? attend<M, Wide<M>>(call, *args) : attend<M, M>(call, *args);
  });
}

}  // namespace

void fill_attention(Backend& table) { table.attention = attention; }

}  // namespace orthant::cpu::ORTHANT_ISA
