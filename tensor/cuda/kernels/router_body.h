// SPDX-License-Identifier: Apache-2.0
// Top-k routing over the softmax of the router's logits, and its gradient (with those of the
// balance and z-losses).
#pragma once

#include "tensor/cuda/kernels/activation_body.h"
#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

inline constexpr int64_t kMaxExperts = 4096;  // a token's scores fit into shared memory

// The sum of the chosen scores, in slot order.
template <class T>
ORTHANT_HD T chosen_sum(const T* scores, const int32_t* ids, int64_t slots) {
  T sum = 0;
  for (int64_t a = 0; a < slots; ++a)
    if (ids[a] >= 0) sum += scores[ids[a]];
  return sum;
}

// The `slots` best scores in descending order, ties to the lower id; NaN scores come last, in
// order. open [num_experts] is scratch: the scores, -1 where taken.
template <class T, class Team>
ORTHANT_HD void choose(Team team, const T* scores, int64_t num_experts, int64_t slots, T* open,
                       int32_t* ids) {
  team.each(num_experts, [&](int64_t e) { open[e] = scores[e]; });
  for (int64_t a = 0; a < slots; ++a) {
    const T best = team.template max<T>(num_experts, [&](int64_t e) { return open[e]; });
    int64_t chosen = num_experts;
    if (best >= T{0}) chosen = team.first(num_experts, [&](int64_t e) { return open[e] == best; });
    if (chosen == num_experts)
      chosen = team.first(num_experts, [&](int64_t e) { return !(open[e] < T{0}); });
    team.once([&] {
      ids[a] = chosen == num_experts ? -1 : static_cast<int32_t>(chosen);
      if (chosen < num_experts) open[chosen] = T{-1};
    });
  }
}

template <class T>
struct RouteToken {
  Rows<const T> logits;
  const int32_t* valid;
  Rows<const int32_t> replay;
  Rows<T> scores;
  Rows<int32_t> ids;
  Rows<T> weights;
  T* lse;
  bool normalize;
  T scale;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t n, void* scratch) const {
    const int64_t num_experts = logits.cols, slots = ids.cols;
    T* score = scores[n];
    int32_t* id = ids[n];
    T* weight = weights[n];
    const T row_lse = softmax_row<T, T>(team, logits[n], score, num_experts);
    if (lse) team.once([&] { lse[n] = row_lse; });
    if (valid && !valid[n]) {
      team.each(slots, [&](int64_t a) {
        id[a] = -1;
        weight[a] = 0;
      });
      return;
    }
    if (replay.data) {
      const int32_t* given = replay[n];
      team.each(slots, [&](int64_t a) { id[a] = given[a]; });
    } else {
      choose(team, score, num_experts, slots, static_cast<T*>(scratch), id);
    }
    const T divisor = normalize ? chosen_sum(score, id, slots) : T{1};
    team.each(slots,
              [&](int64_t a) { weight[a] = id[a] < 0 ? T{0} : score[id[a]] / divisor * scale; });
  }
};

// Element (sequence, expert) of counts and score sums: over the sequence's tokens, in order.
template <class T>
struct RouterSums {
  Rows<const T> scores;
  Rows<const int32_t> ids;
  const int32_t* valid;
  Rows<double> counts, score_sums;
  int64_t sequence_length;
  ORTHANT_HD void operator()(int64_t i) const {
    const int64_t s = i / scores.cols, e = i % scores.cols;
    double count = 0, sum = 0;
    for (int64_t n = s * sequence_length; n < (s + 1) * sequence_length; ++n) {
      if (valid && !valid[n]) continue;
      for (int64_t a = 0; a < ids.cols; ++a)
        if (ids[n][a] == e) count += 1;
      sum += static_cast<double>(scores[n][e]);
    }
    counts[s][e] = count;
    score_sums[s][e] = sum;
  }
};

// weight_a = scale * s_a / sum_b s_b, or scale * s_a; then back through the softmax.
template <class T>
struct RouterGrad {
  Rows<const T> scores;
  const int32_t* valid;
  Rows<const int32_t> ids;
  const T* lse;
  Rows<const T> dweights;
  Rows<const double> coef;
  Rows<T> dlogits;
  int64_t sequence_length;
  bool normalize;
  T scale, lse_factor;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t n, void* scratch) const {
    const int64_t num_experts = scores.cols, slots = ids.cols;
    const T* score = scores[n];
    const int32_t* id = ids[n];
    T* out = dlogits[n];
    if (valid && !valid[n]) {
      team.each(num_experts, [&](int64_t e) { out[e] = 0; });
      return;
    }
    T* dscores = static_cast<T*>(scratch);
    team.each(num_experts, [&](int64_t e) {
      dscores[e] = coef.data ? static_cast<T>(coef[n / sequence_length][e]) : T{0};
    });
    if (dweights.data) {
      const T* dweight = dweights[n];
      const T inverse = normalize ? T{1} / chosen_sum(score, id, slots) : T{1};
      T mean = 0;
      if (normalize)
        for (int64_t a = 0; a < slots; ++a)
          if (id[a] >= 0) mean += dweight[a] * (score[id[a]] * inverse);
      team.once([&] {  // in slot order: replayed ids may repeat
        for (int64_t a = 0; a < slots; ++a)
          if (id[a] >= 0) dscores[id[a]] += scale * inverse * (dweight[a] - mean);
      });
    }
    const T lse_term = lse ? lse_factor * lse[n] : T{0};
    const T dot =
        team.template sum<T>(num_experts, [&](int64_t e) { return score[e] * dscores[e]; });
    team.each(num_experts, [&](int64_t e) { out[e] = score[e] * (dscores[e] - dot + lse_term); });
  }
};

template <class T, class Exec>
int router_rows(Exec& exec, const RouterArgs* args) {
  const Rows<const T> logits = rows_of<const T>(args->logits);
  const Rows<T> scores = rows_of<T>(args->scores);
  const Rows<int32_t> ids = rows_of<int32_t>(args->ids);
  const Rows<const int32_t> replay = rows_of<const int32_t>(args->replay);
  const int32_t* valid = data_of<const int32_t>(args->valid);
  const int64_t num_experts = logits.cols, length = args->sequence_length;
  if (num_experts > kMaxExperts) return exec.fail("more than 4096 experts");
  if (ids.cols > num_experts) return exec.fail("more slots than experts");
  if (length <= 0 || logits.rows % length)
    return exec.fail("the tokens are no whole number of sequences");
  if (replay.data)
    if (const int status = check_ids(exec, replay, num_experts, "a replayed id is too large"))
      return status;
  const RouteToken<T> route{logits,
                            valid,
                            replay,
                            scores,
                            ids,
                            rows_of<T>(args->weights),
                            data_of<T>(args->lse),
                            args->normalize != 0,
                            static_cast<T>(args->scale)};
  if (const int status = exec.rows(logits.rows, route, num_experts * kBytes<T>)) return status;
  const RouterSums<T> sums{
      rows_of<const T>(args->scores), rows_of<const int32_t>(args->ids), valid,
      rows_of<double>(args->counts),  rows_of<double>(args->score_sums), length};
  return exec.elements(logits.rows / length * num_experts, sums);
}
template <class Exec>
int router(const BackendCall* call, const RouterArgs* args) {
  Exec exec(call, "router");
  return with_wide_dtype(exec, args->logits.dtype,
                         [&]<class T>(T) { return router_rows<T>(exec, args); });
}
template <class Exec>
int router_grad(const BackendCall* call, const RouterGradArgs* args) {
  Exec exec(call, "router_grad");
  return with_wide_dtype(exec, args->scores.dtype, [&]<class T>(T) {
    const Rows<const T> scores = rows_of<const T>(args->scores);
    if (scores.cols > kMaxExperts) return exec.fail("more than 4096 experts");
    const RouterGrad<T> body{scores,
                             data_of<const int32_t>(args->valid),
                             rows_of<const int32_t>(args->ids),
                             data_of<const T>(args->lse),
                             rows_of<const T>(args->dweights),
                             rows_of<const double>(args->score_coef),
                             rows_of<T>(args->dlogits),
                             args->sequence_length,
                             args->normalize != 0,
                             static_cast<T>(args->scale),
                             static_cast<T>(2 * args->z_coef)};
    return exec.rows(scores.rows, body, scores.cols * kBytes<T>);
  });
}

}  // namespace orthant::cuda::kernels
