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
    scores = carver.take(max_of(kTileRows, args.heads / args.kv_heads) * kBlock);
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

// The same of one query row, the heads of which stand in consecutive slots: all see the same keys,
// so they are the rows of the products.
template <class T, class B>
[[gnu::flatten]] void attend_block_of_row(const AttentionArgs& args, const ForwardTiles<T>& tiles,
                                          KeyRange visible, const B* keys, const B* values,
                                          int64_t value_stride) {
  constexpr int kL = kLanes<T>;
  const int64_t heads = args.heads / args.kv_heads;
  const int64_t ldq = padded<T>(args.qk_dim), ldv = padded<T>(args.v_dim);
  const int64_t skip = visible.begin / kL * kL;
  small_product<T>(heads, (visible.end - skip + kL - 1) / kL, args.qk_dim, {tiles.q, ldq, 1},
                   keys + skip, kBlock, tiles.scores + skip, kBlock, false);
  for (int64_t h = 0; h < heads; ++h)
    softmax_step<T>(tiles.scores + h * kBlock, visible, tiles.max + h, tiles.sum + h,
                    tiles.o + h * ldv, ldv / kL);
  small_product<T>(heads, ldv / kL, visible.end - visible.begin,
                   {tiles.scores + visible.begin, kBlock, 1}, values + visible.begin * value_stride,
                   value_stride, tiles.o, ldv, true);
}

// Where the keys of a sequence stand that are not in consecutive rows.
struct Pages {
  const int64_t* bytes;  // distance of each page from that of the view
  int64_t rows, k_step, v_step;
  bool k_transposed;
};

// A span of query rows [begin, end) of a sequence, all query heads of one KV head.  O: of o.
template <class M, class O>
class AttendSpan {
 public:
  using T = Wide<M>;
  AttendSpan(const AttentionArgs& args, int64_t sequence, int64_t kv_head, void* space,
             const Pages* pages = nullptr)
      : args_(args), sequence_(sequence), kv_head_(kv_head), tiles_(args, space), pages_(pages) {}

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
      const int64_t row = document.first_key + first;
      if (is_row(document)) {
        attend_row(document.seen_in_block(document.begin, document.begin, first), row);
        continue;
      }
      pack(row, min_of(kBlock, seen.end - first));
      for (int64_t h = 0; h < group(); ++h)
        attend_block<T>(args_, tiles_, document, h * span_of(args_), first);
    }
    for_each_row(document,
                 [&](int64_t row, int64_t head, int64_t slot) { end_row(row, head, slot); });
  }
  static bool is_row(const Document& document) { return document.end - document.begin == 1; }
  template <class F>
  void for_each_row(const Document& document, F f) const {
    const int64_t slots = is_row(document) ? 1 : span_of(args_);  // of a head
    for (int64_t h = 0; h < group(); ++h)
      for (int64_t r = document.begin; r < document.end; ++r)
        f(sequence_ * args_.q_stride + r, kv_head_ * group() + h, h * slots + r - document.begin);
  }
  // A block of keys is in one page.
  const M* in_page(const Rows<M>& rows, int64_t row, int64_t head_step, int64_t row_step) const {
    const char* first = reinterpret_cast<const char*>(rows.data + kv_head_ * head_step);
    const M* page = reinterpret_cast<const M*>(first + pages_->bytes[row / pages_->rows]);
    return page + row % pages_->rows * row_step;
  }
  const M* keys_at(int64_t row) const {
    if (!pages_) return k_[row] + kv_head_ * args_.qk_dim;
    return in_page(k_, row, pages_->k_step, pages_->k_transposed ? 1 : k_.stride);
  }
  const M* values_at(int64_t row) const {
    if (!pages_) return v_[row] + kv_head_ * args_.v_dim;
    return in_page(v_, row, pages_->v_step, v_.stride);
  }
  void pack(int64_t row, int64_t count) const {
    const int64_t qk = args_.qk_dim, vd = args_.v_dim;
    if (pages_ && pages_->k_transposed) {
      pack_rows<M, T>(keys_at(row), k_.stride, qk, kBlock, T{1}, tiles_.keys);
    } else {
      pack_transposed<M, T>(keys_at(row), k_.stride, count, qk, tiles_.keys);
    }
    pack_rows<M, T>(values_at(row), v_.stride, count, vd, T{1}, tiles_.values);
  }
  // What a single query sees of the block from `row` on: as it stands in the page, where it can.
  void attend_row(KeyRange visible, int64_t row) const {
    const int64_t vd = args_.v_dim, ldv = padded<T>(vd);
    if (pages_ && pages_->k_transposed && pages_->rows == kBlock && vd == ldv) {
      attend_block_of_row<T, M>(args_, tiles_, visible, keys_at(row), values_at(row), v_.stride);
    } else {
      pack(row, visible.end);
      attend_block_of_row<T, T>(args_, tiles_, visible, tiles_.keys, tiles_.values, ldv);
    }
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
  const Pages* pages_;
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

// Of paged attention, one sequence.
struct PagedSequence {
  int64_t row, count, position, first_key, first_page;
};

template <class M>
View rows_from(const View& view, int64_t row) {
  View result = view;
  result.data = rows_of<M>(view)[row];
  return result;
}

template <class M>
AttentionArgs args_of(const PagedAttentionArgs& args, const PagedSequence& sequence) {
  AttentionArgs result{};
  result.q = rows_from<M>(args.q, sequence.row), result.o = rows_from<M>(args.o, sequence.row);
  result.k = args.k, result.v = args.v;
  result.batch = 1;
  result.q_len = result.q_stride = sequence.count;
  result.q_offset = sequence.position;
  result.kv_offset = sequence.first_key;
  result.kv_len = result.kv_stride = sequence.position + sequence.count - sequence.first_key;
  result.heads = args.heads, result.kv_heads = args.kv_heads;
  result.qk_dim = args.qk_dim, result.v_dim = args.v_dim;
  result.window = args.window, result.scale = args.scale;
  return result;
}

template <class M>
int attend_pages(const BackendCall* call, const PagedAttentionArgs& args) {
  const auto* sequences = static_cast<const PagedSequence*>(args.sequences.data);
  const int64_t count = rows_of<int64_t>(args.sequences).rows;
  int64_t longest = 0;
  for (int64_t s = 0; s < count; ++s) longest = max_of(longest, sequences[s].count);
  AttentionArgs shape{};
  shape.heads = args.heads, shape.kv_heads = args.kv_heads;
  shape.qk_dim = args.qk_dim, shape.v_dim = args.v_dim;
  const int64_t bytes = ForwardTiles<Wide<M>>(shape, nullptr).bytes;
  const int64_t span = span_of(shape), spans = (longest + span - 1) / span;
  bool out_of_memory = false;
  parallel_for_each(count * args.kv_heads * spans, [&](int64_t item) {
    const int64_t begin = (spans - 1 - item % spans) * span, head = item / spans;
    const PagedSequence& sequence = sequences[head / args.kv_heads];
    if (begin >= sequence.count) return;
    void* space = scratch(Scratch::kLocal, bytes);
    if (!space) {
      __atomic_store_n(&out_of_memory, true, __ATOMIC_RELAXED);
      return;
    }
    const auto* distances = static_cast<const int64_t*>(args.pages.data);
    const Pages pages{distances + sequence.first_page, args.page_rows, args.k_step, args.v_step,
                      args.k_transposed != 0};
    const AttentionArgs own = args_of<M>(args, sequence);
    AttendSpan<M, M>(own, 0, head % args.kv_heads, space, &pages)
        .run(begin, min_of(begin + span, sequence.count));
  });
  return out_of_memory ? fail(call, "paged_attention", "out of memory") : 0;
}

int paged_attention(const BackendCall* call, const PagedAttentionArgs* args) {
  if (args->kv_heads <= 0 || args->heads % args->kv_heads)
    return fail(call, "paged_attention", "the query heads are no multiple of the KV heads");
  if (args->page_rows % kBlock)
    return fail(call, "paged_attention", "page_rows is no multiple of 64");
  return with_dtype(call, "paged_attention", args->q.dtype,
                    [&]<class M>(M) { return attend_pages<M>(call, *args); });
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

void fill_attention(Backend& table) {
  table.attention = attention;
  table.paged_attention = paged_attention;
}

}  // namespace orthant::cpu::ORTHANT_ISA
