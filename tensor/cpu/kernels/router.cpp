// SPDX-License-Identifier: Apache-2.0
// Top-k routing over the softmax of the router's logits, and its gradient (with those of the
// balance and z-losses).
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"
#include "tensor/cpu/kernels/softmax.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

constexpr int64_t kMaxExperts = 4096;

// The index of the largest score not taken yet, ties to the lower one.  `open` holds the scores,
// -1 where taken.  NaN scores come last, in order.
template <class T>
[[gnu::flatten]] int64_t best_open(const T* open, int64_t num_experts) {
  const T best = row_max(open, num_experts);
  if (best >= 0)
    for (int64_t e = 0; e < num_experts; ++e)
      if (open[e] == best) return e;
  for (int64_t e = 0; e < num_experts; ++e)
    if (!(open[e] < 0)) return e;
  return -1;
}

template <class T>
void choose(const T* scores, int64_t num_experts, int64_t slots, int32_t* ids) {
  T open[kMaxExperts];
  for (int64_t e = 0; e < num_experts; ++e) open[e] = scores[e];
  for (int64_t a = 0; a < slots; ++a) {
    const int64_t e = best_open(open, num_experts);
    ids[a] = static_cast<int32_t>(e);
    if (e >= 0) open[e] = T{-1};
  }
}

// The sum of the chosen scores, in slot order.
template <class T>
T chosen_sum(const T* scores, const int32_t* ids, int64_t slots) {
  T sum = 0;
  for (int64_t a = 0; a < slots; ++a)
    if (ids[a] >= 0) sum += scores[ids[a]];
  return sum;
}

template <class T>
int router_rows(const BackendCall* call, const RouterArgs* args) {
  const Rows<T> logits = rows_of<T>(args->logits), scores = rows_of<T>(args->scores);
  const Rows<T> weights = rows_of<T>(args->weights);
  const Rows<int32_t> ids = rows_of<int32_t>(args->ids), replay = rows_of<int32_t>(args->replay);
  const Rows<double> counts = rows_of<double>(args->counts);
  const Rows<double> score_sums = rows_of<double>(args->score_sums);
  const int32_t* valid = static_cast<const int32_t*>(args->valid.data);
  T* lse = static_cast<T*>(args->lse.data);
  const int64_t num_experts = logits.cols, slots = ids.cols, length = args->sequence_length;
  if (num_experts > kMaxExperts) return fail(call, "router", "more than 4096 experts");
  if (slots > num_experts) return fail(call, "router", "more slots than experts");
  if (length <= 0 || logits.rows % length)
    return fail(call, "router", "the tokens are no whole number of sequences");
  if (replay.data)
    for (int64_t n = 0; n < ids.rows; ++n)
      for (int64_t a = 0; a < slots; ++a)
        if (replay[n][a] >= num_experts) return fail(call, "router", "a replayed id is too large");

  for_rows(logits.rows, num_experts * (slots + 4), [&](int64_t n) {
    const T row_lse = softmax_row<T, T>(logits[n], scores[n], num_experts);
    if (lse) lse[n] = row_lse;
    if (valid && !valid[n]) {
      for (int64_t a = 0; a < slots; ++a) ids[n][a] = -1, weights[n][a] = 0;
      return;
    }
    if (replay.data) {
      for (int64_t a = 0; a < slots; ++a) ids[n][a] = replay[n][a];
    } else {
      choose<T>(scores[n], num_experts, slots, ids[n]);
    }
    const T divisor = args->normalize ? chosen_sum<T>(scores[n], ids[n], slots) : T{1};
    for (int64_t a = 0; a < slots; ++a)
      weights[n][a] =
          ids[n][a] < 0 ? T{0} : scores[n][ids[n][a]] / divisor * static_cast<T>(args->scale);
  });

  parallel_for(logits.rows / length, 1, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      for (int64_t e = 0; e < num_experts; ++e) counts[s][e] = score_sums[s][e] = 0;
      for (int64_t n = s * length; n < (s + 1) * length; ++n) {
        if (valid && !valid[n]) continue;
        for (int64_t a = 0; a < slots; ++a)
          if (ids[n][a] >= 0) counts[s][ids[n][a]] += 1;
        for (int64_t e = 0; e < num_experts; ++e) score_sums[s][e] += scores[n][e];
      }
    }
  });
  return 0;
}

template <class T>
[[gnu::flatten]] void softmax_backward_row(const T* scores, const T* dscores, T lse_term,
                                           T* dlogits, int64_t n) {
  const T dot = sum_of<T>(n, [&](int64_t i, int64_t count) {
    return load(scores + i, count) * load(dscores + i, count);
  });
  for_each_vec<T>(n, [&](int64_t i, int64_t count) {
    store(dlogits + i, load(scores + i, count) * (load(dscores + i, count) - dot + lse_term),
          count);
  });
}

template <class T>
int router_grad_rows(const BackendCall* call, const RouterGradArgs* args) {
  const Rows<T> scores = rows_of<T>(args->scores), dlogits = rows_of<T>(args->dlogits);
  const Rows<T> dweights = rows_of<T>(args->dweights);
  const Rows<int32_t> ids = rows_of<int32_t>(args->ids);
  const Rows<double> coef = rows_of<double>(args->score_coef);
  const int32_t* valid = static_cast<const int32_t*>(args->valid.data);
  const T* lse = static_cast<const T*>(args->lse.data);
  const int64_t num_experts = scores.cols, slots = ids.cols;
  if (num_experts > kMaxExperts) return fail(call, "router_grad", "more than 4096 experts");
  const T scale = static_cast<T>(args->scale);

  for_rows(scores.rows, num_experts * 4, [&](int64_t n) {
    T* out = dlogits[n];
    for (int64_t e = 0; e < num_experts; ++e) out[e] = 0;
    if (valid && !valid[n]) return;
    T dscores[kMaxExperts];
    for (int64_t e = 0; e < num_experts; ++e)
      dscores[e] = coef.data ? static_cast<T>(coef[n / args->sequence_length][e]) : T{0};
    if (dweights.data) {
      // weight_a = scale * s_a / sum_b s_b, or scale * s_a.
      const T inverse = args->normalize ? T{1} / chosen_sum<T>(scores[n], ids[n], slots) : T{1};
      T mean = 0;
      if (args->normalize)
        for (int64_t a = 0; a < slots; ++a)
          if (ids[n][a] >= 0) mean += dweights[n][a] * (scores[n][ids[n][a]] * inverse);
      for (int64_t a = 0; a < slots; ++a)
        if (ids[n][a] >= 0) dscores[ids[n][a]] += scale * inverse * (dweights[n][a] - mean);
    }
    const T lse_term = lse ? static_cast<T>(2 * args->z_coef) * lse[n] : T{0};
    softmax_backward_row<T>(scores[n], dscores, lse_term, out, num_experts);
  });
  return 0;
}

int router(const BackendCall* call, const RouterArgs* args) {
  if (args->logits.dtype == DType::kF64) return router_rows<double>(call, args);
  if (args->logits.dtype == DType::kF32) return router_rows<float>(call, args);
  return fail_dtype(call, "router", args->logits.dtype);
}

int router_grad(const BackendCall* call, const RouterGradArgs* args) {
  if (args->scores.dtype == DType::kF64) return router_grad_rows<double>(call, args);
  if (args->scores.dtype == DType::kF32) return router_grad_rows<float>(call, args);
  return fail_dtype(call, "router_grad", args->scores.dtype);
}

}  // namespace

void fill_router(Backend& table) {
  table.router = router;
  table.router_grad = router_grad;
}

}  // namespace orthant::cpu::ORTHANT_ISA
