// SPDX-License-Identifier: Apache-2.0
// Causal attention with an online softmax, and its gradient; no T x T matrix, no atomics.
//
// One team per query row and head, keys in blocks of 32 counted from the first key of the row's
// document: a row depends on its query and its visible keys alone.  The gradient makes
// probabilities again from the logsumexp: dq (and delta = do . o) per query row and head, dk and dv
// per key row and KV head, which adds over query heads, then queries, in order. Sources: Milakov
// and Gimelshein, arXiv:1805.02867; Dao et al., "FlashAttention", arXiv:2205.14135.
#pragma once

#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

inline constexpr int64_t kAttentionBlock = 32;  // keys, or queries, in a block

template <class M>
ORTHANT_HD Wide<M> dot_of(const M* x, const M* y, int64_t n) {
  Wide<M> sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += widen(x[i]) * widen(y[i]);
  return sum;
}

// Shapes, and where the rows of a query head or a KV head are.
template <class M>
struct AttentionRows {
  using T = Wide<M>;
  Rows<const M> q, k, v;
  Rows<M> o;
  Rows<T> lse;
  const int32_t* doc_start;
  int64_t q_len, kv_stride, q_offset, heads, kv_heads, qk, vd;
  T scale;

  ORTHANT_HD int64_t kv_head_of(int64_t head) const { return head / (heads / kv_heads); }
  ORTHANT_HD int64_t first_key_of(int64_t row) const { return doc_start ? doc_start[row] : 0; }
  ORTHANT_HD const M* query(int64_t row, int64_t head) const { return q[row] + head * qk; }
  ORTHANT_HD const M* key(int64_t row, int64_t kv_head) const { return k[row] + kv_head * qk; }
  ORTHANT_HD const M* value(int64_t row, int64_t kv_head) const { return v[row] + kv_head * vd; }
};

template <class M>
struct Attend {
  using T = Wide<M>;
  AttentionRows<M> a;

  static int64_t scratch_bytes(int64_t vd) { return (kAttentionBlock + vd) * kBytes<T>; }

  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t item, void* scratch) const {
    const int64_t row = item / a.heads, head = item % a.heads, kv_head = a.kv_head_of(head);
    const int64_t key_row = row / a.q_len * a.kv_stride;
    const int64_t end = a.q_offset + row % a.q_len + 1;
    T* scores = static_cast<T*>(scratch);
    T* o = scores + kAttentionBlock;
    const M* query = a.query(row, head);
    T max = static_cast<T>(-kInfinity), sum = 0;
    team.each(a.vd, [&](int64_t c) { o[c] = 0; });
    for (int64_t first = a.first_key_of(row); first < end; first += kAttentionBlock) {
      const int64_t count = min_of(kAttentionBlock, end - first);
      team.each(count, [&](int64_t j) {
        scores[j] = a.scale * dot_of(query, a.key(key_row + first + j, kv_head), a.qk);
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
          total += scores[j] * widen(a.value(key_row + first + j, kv_head)[c]);
        o[c] = total;
      });
    }
    const T inverse = sum == T{0} ? T{0} : T{1} / sum;
    M* out = a.o[row] + head * a.vd;
    team.each(a.vd, [&](int64_t c) { narrow(o[c] * inverse, out + c); });
    if (a.lse.data) team.once([&] { a.lse[row][head] = max + log_of(sum); });
  }
};

// dq of one query row and head; delta [rows, heads] for AttendKeyGrad.
template <class M>
struct AttendQueryGrad {
  using T = Wide<M>;
  AttentionRows<M> a;
  Rows<const M> do_;
  Rows<M> dq;
  T* delta;

  static int64_t scratch_bytes(int64_t qk) { return (kAttentionBlock + qk) * kBytes<T>; }

  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t item, void* scratch) const {
    const int64_t row = item / a.heads, head = item % a.heads, kv_head = a.kv_head_of(head);
    const int64_t key_row = row / a.q_len * a.q_len, end = row % a.q_len + 1;
    T* dscores = static_cast<T*>(scratch);
    T* sum = dscores + kAttentionBlock;
    const M* query = a.query(row, head);
    const M* dout = do_[row] + head * a.vd;
    const M* out = a.o[row] + head * a.vd;
    const T lse = a.lse[row][head];
    const T own_delta =
        team.template sum<T>(a.vd, [&](int64_t c) { return widen(dout[c]) * widen(out[c]); });
    team.once([&] { delta[item] = own_delta; });
    team.each(a.qk, [&](int64_t c) { sum[c] = 0; });
    for (int64_t first = a.first_key_of(row); first < end; first += kAttentionBlock) {
      const int64_t count = min_of(kAttentionBlock, end - first);
      team.each(count, [&](int64_t j) {
        const int64_t at = key_row + first + j;
        const T prob = exp_of(a.scale * dot_of(query, a.key(at, kv_head), a.qk) - lse);
        dscores[j] = prob * (dot_of(dout, a.value(at, kv_head), a.vd) - own_delta);
      });
      team.each(a.qk, [&](int64_t c) {
        T total = sum[c];
        for (int64_t j = 0; j < count; ++j)
          total += dscores[j] * widen(a.key(key_row + first + j, kv_head)[c]);
        sum[c] = total;
      });
    }
    M* slope = dq[row] + head * a.qk;
    team.each(a.qk, [&](int64_t c) { narrow(sum[c] * a.scale, slope + c); });
  }
};

// dk and dv of one key row and KV head.
template <class M>
struct AttendKeyGrad {
  using T = Wide<M>;
  AttentionRows<M> a;
  Rows<const M> do_;
  Rows<M> dk, dv;
  const T* delta;

  static int64_t scratch_bytes(int64_t qk, int64_t vd) {
    return (2 * kAttentionBlock + qk + vd) * kBytes<T>;
  }

  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t item, void* scratch) const {
    const int64_t key_row = item / a.kv_heads, kv_head = item % a.kv_heads;
    const int64_t base = key_row / a.q_len * a.q_len, position = key_row % a.q_len;
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
      for (int64_t first = position; first < a.q_len; first += kAttentionBlock) {
        const int64_t count = min_of(kAttentionBlock, a.q_len - first);
        const int64_t seen = team.first(
            count, [&](int64_t i) { return a.first_key_of(base + first + i) <= position; });
        if (seen == count) continue;  // all these queries are of later documents
        team.each(count, [&](int64_t i) {
          const int64_t row = base + first + i;
          T prob = 0, dscore = 0;
          if (a.first_key_of(row) <= position) {
            prob = exp_of(a.scale * dot_of(a.query(row, head), key, a.qk) - a.lse[row][head]);
            dscore =
                prob * (dot_of(do_[row] + head * a.vd, value, a.vd) - delta[row * a.heads + head]);
          }
          probs[i] = prob;
          dscores[i] = dscore * a.scale;
        });
        team.each(a.qk, [&](int64_t c) {
          T total = k_sum[c];
          for (int64_t i = 0; i < count; ++i)
            total += dscores[i] * widen(a.query(base + first + i, head)[c]);
          k_sum[c] = total;
        });
        team.each(a.vd, [&](int64_t c) {
          T total = v_sum[c];
          for (int64_t i = 0; i < count; ++i)
            total += probs[i] * widen(do_[base + first + i][head * a.vd + c]);
          v_sum[c] = total;
        });
      }
    }
    M* dkey = dk[key_row] + kv_head * a.qk;
    M* dvalue = dv[key_row] + kv_head * a.vd;
    team.each(a.qk, [&](int64_t c) { narrow(k_sum[c], dkey + c); });
    team.each(a.vd, [&](int64_t c) { narrow(v_sum[c], dvalue + c); });
  }
};

template <class M>
AttentionRows<M> attention_rows(const AttentionArgs& args) {
  using T = Wide<M>;
  return {rows_of<const M>(args.q),
          rows_of<const M>(args.k),
          rows_of<const M>(args.v),
          rows_of<M>(args.o),
          rows_of<T>(args.lse),
          data_of<const int32_t>(args.doc_start),
          args.q_len,
          args.kv_stride,
          args.q_offset,
          args.heads,
          args.kv_heads,
          args.qk_dim,
          args.v_dim,
          static_cast<T>(args.scale)};
}

template <class Exec>
int attention(const BackendCall* call, const AttentionArgs* args) {
  Exec exec(call, "attention");
  if (args->kv_heads <= 0 || args->heads % args->kv_heads)
    return exec.fail("the query heads are no multiple of the KV heads");
  return with_dtype(exec, args->q.dtype, [&]<class M>(M) {
    return exec.rows(args->batch * args->q_len * args->heads, Attend<M>{attention_rows<M>(*args)},
                     Attend<M>::scratch_bytes(args->v_dim));
  });
}

template <class Exec>
int attention_grad(const BackendCall* call, const AttentionGradArgs* args) {
  Exec exec(call, "attention_grad");
  const AttentionArgs& forward = args->forward;
  if (forward.q_offset != 0 || forward.kv_stride != forward.q_len)
    return exec.fail("wants q_offset 0 and kv_stride equal to q_len");
  if (forward.kv_heads <= 0 || forward.heads % forward.kv_heads)
    return exec.fail("the query heads are no multiple of the KV heads");
  return with_dtype(exec, forward.q.dtype, [&]<class M>(M) {
    using T = Wide<M>;
    const AttentionRows<M> rows = attention_rows<M>(forward);
    const Rows<const M> dout = rows_of<const M>(args->do_);
    const int64_t num_rows = forward.batch * forward.q_len;
    T* delta = static_cast<T*>(exec.scratch(num_rows * forward.heads * kBytes<T>));
    if (!delta) return 1;
    const AttendQueryGrad<M> of_queries{rows, dout, rows_of<M>(args->dq), delta};
    if (const int status = exec.rows(num_rows * forward.heads, of_queries,
                                     AttendQueryGrad<M>::scratch_bytes(forward.qk_dim)))
      return status;
    const AttendKeyGrad<M> of_keys{rows, dout, rows_of<M>(args->dk), rows_of<M>(args->dv), delta};
    return exec.rows(num_rows * forward.kv_heads, of_keys,
                     AttendKeyGrad<M>::scratch_bytes(forward.qk_dim, forward.v_dim));
  });
}

}  // namespace orthant::cuda::kernels
