// SPDX-License-Identifier: Apache-2.0
// Top-k routing over scores of the router's logits: softmax (DeepSeek-V2, arXiv:2405.04434) or
// sigmoid (DeepSeek-V3, arXiv:2412.19437), within the best groups of experts.
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/router_rows.h"
#include "tensor/cpu/kernels/softmax.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

// An expert that cannot be chosen, or not any more, has this score.
template <class T>
constexpr T kClosed = static_cast<T>(-kInfinity);

// The index of the largest open score, ties to the lower one; NaN scores come last, in order.
template <class T>
[[gnu::flatten]] int64_t best_open(const T* open, int64_t num_experts) {
  const T best = row_max(open, num_experts);
  if (best > kClosed<T>)
    for (int64_t e = 0; e < num_experts; ++e)
      if (open[e] == best) return e;
  for (int64_t e = 0; e < num_experts; ++e)
    if (open[e] != kClosed<T>) return e;
  return -1;
}

// Closes the scores that it takes.
template <class T>
void choose(T* open, int64_t num_experts, int64_t slots, int32_t* ids) {
  for (int64_t a = 0; a < slots; ++a) {
    const int64_t e = best_open(open, num_experts);
    ids[a] = static_cast<int32_t>(e);
    if (e >= 0) open[e] = kClosed<T>;
  }
}

// The sum of the best one or two scores of a group.
template <class T>
T group_score(const T* scores, int64_t size, int64_t group_best) {
  T first = kClosed<T>, second = kClosed<T>;
  for (int64_t e = 0; e < size; ++e) {
    if (scores[e] > first) {
      second = first;
      first = scores[e];
    } else if (scores[e] > second) {
      second = scores[e];
    }
  }
  return group_best == 1 || size == 1 ? first : first + second;
}

// Closes all groups but the best.
template <class T>
void close_groups(T* open, int64_t num_experts, int64_t num_groups, int64_t top_groups,
                  int64_t group_best) {
  T score[kMaxExperts];
  const int64_t size = num_experts / num_groups;
  for (int64_t d = 0; d < num_groups; ++d)
    score[d] = group_score(open + d * size, size, group_best);
  for (int64_t d = 0; d < num_groups; ++d) {
    int64_t before = 0;
    for (int64_t o = 0; o < num_groups; ++o)
      before += score[o] > score[d] || (score[o] == score[d] && o < d);
    if (before < top_groups) continue;
    for (int64_t e = d * size; e < (d + 1) * size; ++e) open[e] = kClosed<T>;
  }
}

template <class T>
[[gnu::flatten]] T sigmoid_row(const T* x, T* y, int64_t n) {
  for_each_vec<T>(n, [&](int64_t i, int64_t count) {
    store(y + i, T{1} / (T{1} + exp_of(-load(x + i, count))), count);
  });
  return sum_of<T>(n, [&](int64_t i, int64_t count) { return load(y + i, count); });
}

// The views of a call, typed.
template <class T>
struct Routing {
  explicit Routing(const RouterArgs& args)
      : a(args),
        logits(rows_of<T>(args.logits)),
        scores(rows_of<T>(args.scores)),
        weights(rows_of<T>(args.weights)),
        chosen_scores(rows_of<T>(args.chosen_scores)),
        ids(rows_of<int32_t>(args.ids)),
        replay(rows_of<int32_t>(args.replay)),
        plain_ids(rows_of<int32_t>(args.plain_ids)),
        counts(rows_of<double>(args.counts)),
        group_counts(rows_of<double>(args.group_counts)),
        plain_counts(rows_of<double>(args.plain_counts)),
        score_sums(rows_of<double>(args.score_sums)),
        valid(static_cast<const int32_t*>(args.valid.data)),
        bias(static_cast<const T*>(args.bias.data)),
        totals(static_cast<T*>(args.totals.data)),
        lse(static_cast<T*>(args.lse.data)),
        experts(logits.cols),
        slots(ids.cols) {}

  const char* problem() const;
  void score_token(int64_t n) const;
  void choose_experts(int64_t n) const;
  void route_token(int64_t n) const;
  void sum_sequence(int64_t s) const;

  const RouterArgs& a;
  Rows<T> logits, scores, weights, chosen_scores;
  Rows<int32_t> ids, replay, plain_ids;
  Rows<double> counts, group_counts, plain_counts, score_sums;
  const int32_t* valid;
  const T* bias;
  T *totals, *lse;
  int64_t experts, slots;
};

// What is wrong with the arguments; null: nothing.
template <class T>
const char* Routing<T>::problem() const {
  if (experts > kMaxExperts) return "more than 4096 experts";
  if (slots > experts) return "more slots than experts";
  if (a.sequence_length <= 0 || a.first_row < 0 ||
      a.first_row + logits.rows > counts.rows * a.sequence_length)
    return "the tokens are beyond the sequences";
  if (a.num_groups < 1 || experts % a.num_groups) return "the groups do not divide the experts";
  if (a.top_groups < 1 || a.top_groups > a.num_groups ||
      a.top_groups * (experts / a.num_groups) < slots)
    return "the open groups have fewer experts than slots";
  if (a.group_best != 1 && a.group_best != 2) return "group_best is neither 1 nor 2";
  if (replay.data)
    for (int64_t n = 0; n < ids.rows; ++n)
      for (int64_t slot = 0; slot < slots; ++slot)
        if (replay[n][slot] >= experts) return "a replayed id is too large";
  return nullptr;
}

template <class T>
void Routing<T>::score_token(int64_t n) const {
  if (a.score == ScoreKind::kSoftmax) {
    const T row_lse = softmax_row<T, T>(logits[n], scores[n], experts);
    if (lse) lse[n] = row_lse;
    totals[n] = 1;
    return;
  }
  if (lse) lse[n] = softmax_row<T, T>(logits[n], scores[n], experts);  // scores: scratch
  totals[n] = sigmoid_row(logits[n], scores[n], experts) + static_cast<T>(kScoreEpsilon);
}

template <class T>
void Routing<T>::choose_experts(int64_t n) const {
  T open[kMaxExperts];
  for (int64_t e = 0; e < experts; ++e) open[e] = scores[n][e] + (bias ? bias[e] : T{0});
  if (a.top_groups < a.num_groups)
    close_groups(open, experts, a.num_groups, a.top_groups, a.group_best);
  choose(open, experts, slots, ids[n]);
}

template <class T>
void Routing<T>::route_token(int64_t n) const {
  score_token(n);
  if (valid && !valid[n]) {
    for (int64_t slot = 0; slot < slots; ++slot) {
      ids[n][slot] = -1, weights[n][slot] = 0;
      if (chosen_scores.data) chosen_scores[n][slot] = 0;
      if (plain_ids.data) plain_ids[n][slot] = -1;
    }
    return;
  }
  if (replay.data) {
    for (int64_t slot = 0; slot < slots; ++slot) ids[n][slot] = replay[n][slot];
  } else {
    choose_experts(n);
  }
  if (plain_ids.data) {
    T open[kMaxExperts];
    for (int64_t e = 0; e < experts; ++e) open[e] = scores[n][e];
    choose(open, experts, slots, plain_ids[n]);
  }
  const T divisor = a.normalize ? chosen_sum<T>(scores[n], ids[n], slots) : T{1};
  for (int64_t slot = 0; slot < slots; ++slot) {
    const T score = ids[n][slot] < 0 ? T{0} : scores[n][ids[n][slot]];
    weights[n][slot] = score / divisor * static_cast<T>(a.scale);
    if (chosen_scores.data) chosen_scores[n][slot] = score;
  }
}

inline void count_chosen(const int32_t* ids, int64_t slots, double* counts) {
  for (int64_t slot = 0; slot < slots; ++slot)
    if (ids[slot] >= 0) counts[ids[slot]] += 1;
}

// Each group of the token once.
inline void count_groups(const int32_t* ids, int64_t slots, int64_t group_size, double* counts) {
  for (int64_t slot = 0; slot < slots; ++slot) {
    if (ids[slot] < 0) continue;
    bool seen = false;
    for (int64_t other = 0; other < slot; ++other)
      seen = seen || (ids[other] >= 0 && ids[other] / group_size == ids[slot] / group_size);
    if (!seen) counts[ids[slot] / group_size] += 1;
  }
}

template <class T>
void Routing<T>::sum_sequence(int64_t s) const {
  for (int64_t e = 0; e < experts; ++e) counts[s][e] = score_sums[s][e] = 0;
  for (int64_t d = 0; d < a.num_groups; ++d) group_counts[s][d] = 0;
  if (plain_counts.data)
    for (int64_t e = 0; e < experts; ++e) plain_counts[s][e] = 0;
  const int64_t begin = max_of(0, s * a.sequence_length - a.first_row);
  const int64_t end = min_of(logits.rows, (s + 1) * a.sequence_length - a.first_row);
  for (int64_t n = begin; n < end; ++n) {
    if (valid && !valid[n]) continue;
    count_chosen(ids[n], slots, counts[s]);
    count_groups(ids[n], slots, experts / a.num_groups, group_counts[s]);
    if (plain_counts.data) count_chosen(plain_ids[n], slots, plain_counts[s]);
    const double total = static_cast<double>(totals[n]);
    for (int64_t e = 0; e < experts; ++e)
      score_sums[s][e] += static_cast<double>(scores[n][e]) / total;
  }
}

template <class T>
int route(const BackendCall* call, const RouterArgs* args) {
  const Routing<T> routing(*args);
  if (const char* problem = routing.problem()) return fail(call, "router", problem);
  for_rows(routing.logits.rows, routing.experts * (routing.slots + 4),
           [&](int64_t n) { routing.route_token(n); });
  parallel_for(routing.counts.rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) routing.sum_sequence(s);
  });
  return 0;
}

int router(const BackendCall* call, const RouterArgs* args) {
  if (args->logits.dtype == DType::kF64) return route<double>(call, args);
  if (args->logits.dtype == DType::kF32) return route<float>(call, args);
  return fail_dtype(call, "router", args->logits.dtype);
}

}  // namespace

void fill_router(Backend& table) { table.router = router; }

}  // namespace orthant::cpu::ORTHANT_ISA
