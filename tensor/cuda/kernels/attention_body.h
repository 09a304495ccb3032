// SPDX-License-Identifier: Apache-2.0
// Causal attention with an online softmax, and its gradient; no T x T matrix, no atomics.
//
// One team per query row and head, keys in blocks of 32 counted from the first key of the row's
// document that the call has: a row depends on its query and its visible keys alone.  The gradient
// makes probabilities again from the logsumexp: dq (and delta = do . o) per query row and head, dk
// and dv per key row and KV head, which adds over query heads, then queries, in order. Sources:
// Milakov and Gimelshein, arXiv:1805.02867; Dao et al., "FlashAttention", arXiv:2205.14135.
#pragma once

#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

inline constexpr int64_t kAttentionBlock = 32;  // keys, or queries, in a block

template <class M>
ORTHANT_HD Wide<M> dot_of(const M* x, const M* y, int64_t n, int64_t y_step = 1) {
  Wide<M> sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += widen(x[i]) * widen(y[i * y_step]);
  return sum;
}

// Shapes, and where the rows of a query head or a KV head are.
template <class M>
struct AttentionRows {
  using T = Wide<M>;
  Rows<const M> q, k, v;
  Rows<T> lse;
  const int32_t* doc_start;
  int64_t q_len, q_stride, q_offset, kv_len, kv_stride, kv_offset, heads, kv_heads, qk, vd, window;
  T scale;

  // One query row and head of all.
  struct Query {
    int64_t row, head, kv_head;
    // Its keys are [begin, end), counted from the document's first one, in row key_row.
    int64_t key_row, begin, end;
    ORTHANT_HD int64_t first_block() const { return begin / kAttentionBlock * kAttentionBlock; }
  };
  ORTHANT_HD Query query_of(int64_t item) const {
    const int64_t index = item / heads, head = item % heads;
    const int64_t sequence = index / q_len, i = index % q_len, position = q_offset + i;
    const int64_t row = sequence * q_stride + i;
    const int64_t origin = max_of(first_key_of(row), kv_offset);
    const int64_t begin = window > 0 ? max_of(0, position - window + 1 - origin) : 0;
    const int64_t end = min_of(position + 1, kv_offset + kv_len) - origin;
    return {row,
            head,
            head / (heads / kv_heads),
            sequence * kv_stride + origin - kv_offset,
            begin,
            begin < end ? end : 0};
  }
  // Of key `key` of a query, and of those behind it in its block.
  struct Block {
    const M *k, *v;
    int64_t k_stride, k_step, v_stride;  // to the next key, in a key, to the next value
  };
  ORTHANT_HD Block block_of(const Query& at, int64_t key) const {
    const int64_t row = at.key_row + key;
    return {this->key(row, at.kv_head), value(row, at.kv_head), k.stride, 1, v.stride};
  }
  ORTHANT_HD int64_t first_key_of(int64_t row) const { return doc_start ? doc_start[row] : 0; }
  ORTHANT_HD const M* query(int64_t row, int64_t head) const { return q[row] + head * qk; }
  ORTHANT_HD const M* key(int64_t row, int64_t kv_head) const { return k[row] + kv_head * qk; }
  ORTHANT_HD const M* value(int64_t row, int64_t kv_head) const { return v[row] + kv_head * vd; }
};

// The same of keys in pages.
template <class M>
struct PagedAttentionRows : AttentionRows<M> {
  using Base = AttentionRows<M>;
  using typename Base::Block;
  struct Sequence {
    int64_t row, count, position, first_key, first_page;
  };
  const Sequence* sequences;
  const int64_t* pages;
  int64_t page_rows, k_step, v_step;
  bool k_transposed;

  struct Query : Base::Query {
    int64_t first_page;
  };
  ORTHANT_HD Query query_of(int64_t item) const {
    const int64_t row = item / this->heads, head = item % this->heads;
    const Sequence* of = sequences;
    while (row >= of->row + of->count) ++of;
    const int64_t position = of->position + row - of->row, window = this->window;
    const int64_t begin = window > 0 ? max_of(0, position - window + 1 - of->first_key) : 0;
    const int64_t end = position + 1 - of->first_key;
    return {{row, head, head / (this->heads / this->kv_heads), 0, begin, end}, of->first_page};
  }
  ORTHANT_HD Block block_of(const Query& at, int64_t key) const {
    const int64_t distance = pages[at.first_page + key / page_rows], row = key % page_rows;
    const auto in_page = [&](const M* head) {
      return reinterpret_cast<const M*>(reinterpret_cast<const char*>(head) + distance);
    };
    const int64_t stride = k_transposed ? 1 : this->k.stride;
    return {in_page(this->k.data + row * stride + at.kv_head * k_step),
            in_page(this->v[row] + at.kv_head * v_step), stride, k_transposed ? this->k.stride : 1,
            this->v.stride};
  }
};

// O: of o.  A: AttentionRows or PagedAttentionRows.
template <class M, class O, class A = AttentionRows<M>>
struct Attend {
  using T = Wide<M>;
  A a;
  Rows<O> out;
  bool accumulate;

  static int64_t scratch_bytes(int64_t vd) { return (kAttentionBlock + vd) * kBytes<T>; }

  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t item, void* scratch) const {
    const auto at = a.query_of(item);
    T* scores = static_cast<T*>(scratch);
    T* o = scores + kAttentionBlock;
    const M* query = a.query(at.row, at.head);
    O* own = out[at.row] + at.head * a.vd;
    const T nothing = static_cast<T>(-kInfinity);
    T max = accumulate ? a.lse[at.row][at.head] : nothing, sum = max == nothing ? T{0} : T{1};
    team.each(a.vd, [&](int64_t c) { o[c] = accumulate ? widen(own[c]) : T{0}; });
    for (int64_t block = at.first_block(); block < at.end; block += kAttentionBlock) {
      const int64_t first = max_of(block, at.begin);
      const int64_t count = min_of(block + kAttentionBlock, at.end) - first;
      const auto keys = a.block_of(at, first);
      team.each(count, [&](int64_t j) {
        scores[j] = a.scale * dot_of(query, keys.k + j * keys.k_stride, a.qk, keys.k_step);
      });
      const T block_max = team.template max<T>(count, [&](int64_t j) { return scores[j]; });
      const T new_max = block_max > max ? block_max : max;
      const T factor = new_max == max ? T{1} : exp_of(max - new_max);
      max = new_max;
      team.each(count, [&](int64_t j) { scores[j] = exp_of(scores[j] - max); });
      sum = sum * factor + team.template sum<T>(count, [&](int64_t j) { return scores[j]; });
      team.each(a.vd, [&](int64_t c) {
        T total = o[c] * factor;
        for (int64_t j = 0; j < count; ++j)
          total += scores[j] * widen(keys.v[j * keys.v_stride + c]);
        o[c] = total;
      });
    }
    const T inverse = sum == T{0} ? T{0} : T{1} / sum;
    team.each(a.vd, [&](int64_t c) { narrow(o[c] * inverse, own + c); });
    if (a.lse.data) team.once([&] { a.lse[at.row][at.head] = max + log_of(sum); });
  }
};

// y = x, or y += x.
template <class T, class G>
ORTHANT_HD void put(T x, G* y, bool accumulate) {
  narrow(accumulate ? widen(*y) + x : x, y);
}

// dq of one query row and head; delta [rows, heads] for AttendKeyGrad.  G: of dq.
template <class M, class G>
struct AttendQueryGrad {
  using T = Wide<M>;
  AttentionRows<M> a;
  Rows<const M> o, do_;
  Rows<G> dq;
  T* delta;
  bool accumulate;

  static int64_t scratch_bytes(int64_t qk) { return (kAttentionBlock + qk) * kBytes<T>; }

  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t item, void* scratch) const {
    const auto at = a.query_of(item);
    T* dscores = static_cast<T*>(scratch);
    T* sum = dscores + kAttentionBlock;
    const M* query = a.query(at.row, at.head);
    const M* dout = do_[at.row] + at.head * a.vd;
    const M* out = o[at.row] + at.head * a.vd;
    const T lse = a.lse[at.row][at.head];
    const T own_delta =
        team.template sum<T>(a.vd, [&](int64_t c) { return widen(dout[c]) * widen(out[c]); });
    team.once([&] { delta[item] = own_delta; });
    team.each(a.qk, [&](int64_t c) { sum[c] = 0; });
    for (int64_t block = at.first_block(); block < at.end; block += kAttentionBlock) {
      const int64_t first = max_of(block, at.begin), row = at.key_row + first;
      const int64_t count = min_of(block + kAttentionBlock, at.end) - first;
      team.each(count, [&](int64_t j) {
        const T prob = exp_of(a.scale * dot_of(query, a.key(row + j, at.kv_head), a.qk) - lse);
        dscores[j] = prob * (dot_of(dout, a.value(row + j, at.kv_head), a.vd) - own_delta);
      });
      team.each(a.qk, [&](int64_t c) {
        T total = sum[c];
        for (int64_t j = 0; j < count; ++j)
          total += dscores[j] * widen(a.key(row + j, at.kv_head)[c]);
        sum[c] = total;
      });
    }
    G* slope = dq[at.row] + at.head * a.qk;
    team.each(a.qk, [&](int64_t c) { put(sum[c] * a.scale, slope + c, accumulate); });
  }
};

// dk and dv of one key row and KV head.  G: of dk and dv.
template <class M, class G>
struct AttendKeyGrad {
  using T = Wide<M>;
  AttentionRows<M> a;
  Rows<const M> do_;
  Rows<G> dk, dv;
  const T* delta;
  bool accumulate;

  static int64_t scratch_bytes(int64_t qk, int64_t vd) {
    return (2 * kAttentionBlock + qk + vd) * kBytes<T>;
  }

  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t item, void* scratch) const {
    const int64_t index = item / a.kv_heads, kv_head = item % a.kv_heads;
    const int64_t sequence = index / a.kv_len, position = a.kv_offset + index % a.kv_len;
    const int64_t key_row = sequence * a.kv_stride + index % a.kv_len;
    // Queries that may see it.
    const int64_t begin = max_of(0, position - a.q_offset);
    const int64_t end = a.window > 0 ? min_of(a.q_len, position + a.window - a.q_offset) : a.q_len;
    const int64_t group = a.heads / a.kv_heads;
    T* probs = static_cast<T*>(scratch);
    T* dscores = probs + kAttentionBlock;
    T* k_sum = dscores + kAttentionBlock;
    T* v_sum = k_sum + a.qk;
    const M* key = a.key(key_row, kv_head);
    const M* value = a.value(key_row, kv_head);
    team.each(a.qk, [&](int64_t c) { k_sum[c] = 0; });
    team.each(a.vd, [&](int64_t c) { v_sum[c] = 0; });
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (int64_t first = begin; first < end; first += kAttentionBlock) {
        const int64_t count = min_of(kAttentionBlock, end - first);
        const int64_t base = sequence * a.q_stride + first;
        const int64_t seen =
            team.first(count, [&](int64_t i) { return a.first_key_of(base + i) <= position; });
        if (seen == count) continue;  // all these queries are of later documents
        team.each(count, [&](int64_t i) {
          const int64_t row = base + i;
          T prob = 0, dscore = 0;
          if (a.first_key_of(row) <= position) {
            prob = exp_of(a.scale * dot_of(a.query(row, head), key, a.qk) - a.lse[row][head]);
            dscore = prob * (dot_of(do_[row] + head * a.vd, value, a.vd) -
                             delta[(sequence * a.q_len + first + i) * a.heads + head]);
          }
          probs[i] = prob;
          dscores[i] = dscore * a.scale;
        });
        team.each(a.qk, [&](int64_t c) {
          T total = k_sum[c];
          for (int64_t i = 0; i < count; ++i)
            total += dscores[i] * widen(a.query(base + i, head)[c]);
          k_sum[c] = total;
        });
        team.each(a.vd, [&](int64_t c) {
          T total = v_sum[c];
          for (int64_t i = 0; i < count; ++i)
            total += probs[i] * widen(do_[base + i][head * a.vd + c]);
          v_sum[c] = total;
        });
      }
    }
    G* dkey = dk[key_row] + kv_head * a.qk;
    G* dvalue = dv[key_row] + kv_head * a.vd;
    team.each(a.qk, [&](int64_t c) { put(k_sum[c], dkey + c, accumulate); });
    team.each(a.vd, [&](int64_t c) { put(v_sum[c], dvalue + c, accumulate); });
  }
};

template <class M>
AttentionRows<M> attention_rows(const AttentionArgs& args) {
  using T = Wide<M>;
  return {rows_of<const M>(args.q),
          rows_of<const M>(args.k),
          rows_of<const M>(args.v),
          rows_of<T>(args.lse),
          data_of<const int32_t>(args.doc_start),
          args.q_len,
          args.q_stride,
          args.q_offset,
          args.kv_len,
          args.kv_stride,
          args.kv_offset,
          args.heads,
          args.kv_heads,
          args.qk_dim,
          args.v_dim,
          args.window,
          static_cast<T>(args.scale)};
}

template <class Exec>
int attention(const BackendCall* call, const AttentionArgs* args) {
  Exec exec(call, "attention");
  if (args->kv_heads <= 0 || args->heads % args->kv_heads)
    return exec.fail("the query heads are no multiple of the KV heads");
  if (args->accumulate && !args->lse.data) return exec.fail("lse is needed to accumulate");
  const int64_t items = args->batch * args->q_len * args->heads;
  return with_dtype(exec, args->q.dtype, [&]<class M>(M) {
    const auto run = [&]<class O>(O) {
      return exec.rows(
          items, Attend<M, O>{attention_rows<M>(*args), rows_of<O>(args->o), args->accumulate != 0},
          Attend<M, O>::scratch_bytes(args->v_dim));
    };
    return args->accumulate ? run(Wide<M>{}) : run(M{});
  });
}

template <class Exec>
int paged_attention(const BackendCall* call, const PagedAttentionArgs* args) {
  Exec exec(call, "paged_attention");
  if (args->kv_heads <= 0 || args->heads % args->kv_heads)
    return exec.fail("the query heads are no multiple of the KV heads");
  if (args->page_rows % 64) return exec.fail("page_rows is no multiple of 64");
  return with_dtype(exec, args->q.dtype, [&]<class M>(M) {
    using A = PagedAttentionRows<M>;
    A rows{};
    rows.q = rows_of<const M>(args->q), rows.k = rows_of<const M>(args->k);
    rows.v = rows_of<const M>(args->v);
    rows.heads = args->heads, rows.kv_heads = args->kv_heads;
    rows.qk = args->qk_dim, rows.vd = args->v_dim, rows.window = args->window;
    rows.scale = static_cast<Wide<M>>(args->scale);
    rows.sequences = static_cast<const typename A::Sequence*>(args->sequences.data);
    rows.pages = data_of<const int64_t>(args->pages);
    rows.page_rows = args->page_rows;
    rows.k_step = args->k_step, rows.v_step = args->v_step;
    rows.k_transposed = args->k_transposed != 0;
    return exec.rows(rows.q.rows * args->heads, Attend<M, M, A>{rows, rows_of<M>(args->o), false},
                     Attend<M, M, A>::scratch_bytes(args->v_dim));
  });
}

template <class M, class G, class Exec>
int attention_grad_of(Exec& exec, const AttentionGradArgs& args) {
  using T = Wide<M>;
  const AttentionArgs& forward = args.forward;
  const AttentionRows<M> rows = attention_rows<M>(forward);
  const Rows<const M> dout = rows_of<const M>(args.do_);
  const bool accumulate = args.accumulate != 0;
  const int64_t queries = forward.batch * forward.q_len * forward.heads;
  const int64_t keys = forward.batch * forward.kv_len * forward.kv_heads;
  T* delta = static_cast<T*>(exec.scratch(queries * kBytes<T>));
  if (!delta) return 1;
  const AttendQueryGrad<M, G> of_queries{
      rows, rows_of<const M>(forward.o), dout, rows_of<G>(args.dq), delta, accumulate};
  if (const int status =
          exec.rows(queries, of_queries, AttendQueryGrad<M, G>::scratch_bytes(forward.qk_dim)))
    return status;
  const AttendKeyGrad<M, G> of_keys{rows,  dout,      rows_of<G>(args.dk), rows_of<G>(args.dv),
                                    delta, accumulate};
  return exec.rows(keys, of_keys,
                   AttendKeyGrad<M, G>::scratch_bytes(forward.qk_dim, forward.v_dim));
}

template <class Exec>
int attention_grad(const BackendCall* call, const AttentionGradArgs* args) {
  Exec exec(call, "attention_grad");
  const AttentionArgs& forward = args->forward;
  if (forward.kv_heads <= 0 || forward.heads % forward.kv_heads)
    return exec.fail("the query heads are no multiple of the KV heads");
  return with_dtype(exec, forward.q.dtype, [&]<class M>(M) {
    return args->accumulate ? attention_grad_of<M, Wide<M>>(exec, *args)
                            : attention_grad_of<M, M>(exec, *args);
  });
}

}  // namespace orthant::cuda::kernels
