// SPDX-License-Identifier: Apache-2.0
// The gradient by the router's logits: of the weights, the balance losses and the z-loss at once.
//   weight_a = scale * s_a / sum_b s_b, or scale * s_a
//   softmax: ds_j += c_j;                                dlogit_j = s_j (ds_j - sum_i ds_i s_i)
//   sigmoid: ds_j += (c_j - sum_i c_i s_i / t) / t;      dlogit_j = s_j (1 - s_j) ds_j
// with c the balance loss's coefficients of s_j / t and t the sum of the scores.
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/router_rows.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

template <class T>
[[gnu::flatten]] T dot(const T* a, const T* b, int64_t n) {
  return sum_of<T>(
      n, [&](int64_t i, int64_t count) { return load(a + i, count) * load(b + i, count); });
}

template <class T>
[[gnu::flatten]] void softmax_backward(const T* scores, const T* dscores, T lse_term, T* dlogits,
                                       int64_t n) {
  const T mean = dot(scores, dscores, n);
  for_each_vec<T>(n, [&](int64_t i, int64_t count) {
    store(dlogits + i, load(scores + i, count) * (load(dscores + i, count) - mean + lse_term),
          count);
  });
}

template <class T>
[[gnu::flatten]] void sigmoid_backward(const T* scores, const T* dscores, T* dlogits, int64_t n) {
  for_each_vec<T>(n, [&](int64_t i, int64_t count) {
    const Vec<T> s = load(scores + i, count);
    store(dlogits + i, s * (T{1} - s) * load(dscores + i, count), count);
  });
}

// dlogits += factor * softmax(logits)
template <class T>
[[gnu::flatten]] void add_lse_gradient(const T* logits, T lse, T factor, T* dlogits, int64_t n) {
  for_each_vec<T>(n, [&](int64_t i, int64_t count) {
    store(dlogits + i, load(dlogits + i, count) + exp_of(load(logits + i, count) - lse) * factor,
          count);
  });
}

// dscores [E] = gradient of the balance losses, zero where there is none.
template <class T>
void balance_gradient(const RouterGradArgs& args, const double* coef, const T* scores, T total,
                      T* dscores, int64_t experts) {
  for (int64_t e = 0; e < experts; ++e) dscores[e] = coef ? static_cast<T>(coef[e]) : T{0};
  if (!coef || args.score == ScoreKind::kSoftmax) return;
  const T mean = dot(scores, dscores, experts) / total;
  for (int64_t e = 0; e < experts; ++e) dscores[e] = (dscores[e] - mean) / total;
}

template <class T>
void add_weight_gradient(const RouterGradArgs& args, const T* dweights, const T* scores,
                         const int32_t* ids, int64_t slots, T* dscores) {
  const T inverse = args.normalize ? T{1} / chosen_sum<T>(scores, ids, slots) : T{1};
  T mean = 0;
  if (args.normalize)
    for (int64_t a = 0; a < slots; ++a)
      if (ids[a] >= 0) mean += dweights[a] * (scores[ids[a]] * inverse);
  for (int64_t a = 0; a < slots; ++a)
    if (ids[a] >= 0) dscores[ids[a]] += static_cast<T>(args.scale) * inverse * (dweights[a] - mean);
}

template <class T>
int router_grad_rows(const BackendCall* call, const RouterGradArgs* args) {
  const Rows<T> logits = rows_of<T>(args->logits), scores = rows_of<T>(args->scores);
  const Rows<T> dweights = rows_of<T>(args->dweights), dlogits = rows_of<T>(args->dlogits);
  const Rows<int32_t> ids = rows_of<int32_t>(args->ids);
  const Rows<double> coef = rows_of<double>(args->score_coef);
  const int32_t* valid = static_cast<const int32_t*>(args->valid.data);
  const T* lse = static_cast<const T*>(args->lse.data);
  const T* totals = static_cast<const T*>(args->totals.data);
  const bool softmax = args->score == ScoreKind::kSoftmax;
  const int64_t experts = scores.cols, slots = ids.cols;
  if (experts > kMaxExperts) return fail(call, "router_grad", "more than 4096 experts");
  if (!softmax && (!totals || (lse && !logits.data)))
    return fail(call, "router_grad", "sigmoid scores want totals, and logits where lse is given");

  for_rows(scores.rows, experts * 4, [&](int64_t n) {
    T* out = dlogits[n];
    if (valid && !valid[n]) {
      for (int64_t e = 0; e < experts; ++e) out[e] = 0;
      return;
    }
    T dscores[kMaxExperts];
    const int64_t s = (args->first_row + n) / args->sequence_length;
    balance_gradient<T>(*args, coef.data ? coef[s] : nullptr, scores[n], softmax ? T{1} : totals[n],
                        dscores, experts);
    if (dweights.data)
      add_weight_gradient<T>(*args, dweights[n], scores[n], ids[n], slots, dscores);
    const T lse_term = lse ? static_cast<T>(2 * args->z_coef) * lse[n] : T{0};
    if (softmax) {
      softmax_backward<T>(scores[n], dscores, lse_term, out, experts);
    } else {
      sigmoid_backward<T>(scores[n], dscores, out, experts);
      if (lse) add_lse_gradient<T>(logits[n], lse[n], lse_term, out, experts);
    }
  });
  return 0;
}

int router_grad(const BackendCall* call, const RouterGradArgs* args) {
  if (args->scores.dtype == DType::kF64) return router_grad_rows<double>(call, args);
  if (args->scores.dtype == DType::kF32) return router_grad_rows<float>(call, args);
  return fail_dtype(call, "router_grad", args->scores.dtype);
}

}  // namespace

void fill_router_grad(Backend& table) { table.router_grad = router_grad; }

}  // namespace orthant::cpu::ORTHANT_ISA
