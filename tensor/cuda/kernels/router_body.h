// SPDX-License-Identifier: Apache-2.0
// Top-k routing over scores of the router's logits: softmax (DeepSeek-V2, arXiv:2405.04434) or
// sigmoid (DeepSeek-V3, arXiv:2412.19437), within the best groups of experts; and its gradient.
#pragma once

#include "tensor/cuda/kernels/activation_body.h"
#include "tensor/cuda/kernels/element.h"

namespace orthant::cuda::kernels {

inline constexpr int64_t kMaxExperts = 4096;  // a token's scores fit into shared memory

// An expert that cannot be chosen, or not any more, has this score.
template <class T>
ORTHANT_HD T closed() {
  return static_cast<T>(-kInfinity);
}

// The sum of the chosen scores, in slot order.
template <class T>
ORTHANT_HD T chosen_sum(const T* scores, const int32_t* ids, int64_t slots) {
  T sum = static_cast<T>(kScoreEpsilon);
  for (int64_t a = 0; a < slots; ++a)
    if (ids[a] >= 0) sum += scores[ids[a]];
  return sum;
}

// The `slots` best open scores in descending order, ties to the lower id; NaN scores come last, in
// order.  Closes what it takes.
template <class T, class Team>
ORTHANT_HD void choose(Team team, T* open, int64_t num_experts, int64_t slots, int32_t* ids) {
  for (int64_t a = 0; a < slots; ++a) {
    const T best = team.template max<T>(num_experts, [&](int64_t e) { return open[e]; });
    int64_t chosen = num_experts;
    if (best > closed<T>())
      chosen = team.first(num_experts, [&](int64_t e) { return open[e] == best; });
    if (chosen == num_experts)
      chosen = team.first(num_experts, [&](int64_t e) { return open[e] != closed<T>(); });
    team.once([&] {
      ids[a] = chosen == num_experts ? -1 : static_cast<int32_t>(chosen);
      if (chosen < num_experts) open[chosen] = closed<T>();
    });
  }
}

// The sum of the best one or two scores of a group.
template <class T>
ORTHANT_HD T group_score(const T* scores, int64_t size, int64_t group_best) {
  T first = closed<T>(), second = closed<T>();
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

// Closes all groups but the best.  score [num_groups] is scratch.
template <class T, class Team>
ORTHANT_HD void close_groups(Team team, T* open, T* score, int64_t num_experts, int64_t num_groups,
                             int64_t top_groups, int64_t group_best) {
  const int64_t size = num_experts / num_groups;
  team.each(num_groups,
            [&](int64_t d) { score[d] = group_score(open + d * size, size, group_best); });
  team.each(num_groups, [&](int64_t d) {
    int64_t before = 0;
    for (int64_t o = 0; o < num_groups; ++o)
      before += score[o] > score[d] || (score[o] == score[d] && o < d);
    if (before < top_groups) return;
    for (int64_t e = d * size; e < (d + 1) * size; ++e) open[e] = closed<T>();
  });
}

// The views of a call, typed.
template <class T>
struct Routing {
  Rows<const T> logits;
  const int32_t* valid;
  const T* bias;
  Rows<const int32_t> replay;
  Rows<T> scores;
  T *totals, *lse;
  Rows<int32_t> ids;
  Rows<T> weights, chosen_scores;
  Rows<int32_t> plain_ids;
  bool sigmoid, normalize;
  int64_t num_groups, top_groups, group_best;
  T scale;
};
template <class T>
Routing<T> routing_of(const RouterArgs& args) {
  return {.logits = rows_of<const T>(args.logits),
          .valid = data_of<const int32_t>(args.valid),
          .bias = data_of<const T>(args.bias),
          .replay = rows_of<const int32_t>(args.replay),
          .scores = rows_of<T>(args.scores),
          .totals = data_of<T>(args.totals),
          .lse = data_of<T>(args.lse),
          .ids = rows_of<int32_t>(args.ids),
          .weights = rows_of<T>(args.weights),
          .chosen_scores = rows_of<T>(args.chosen_scores),
          .plain_ids = rows_of<int32_t>(args.plain_ids),
          .sigmoid = args.score == ScoreKind::kSigmoid,
          .normalize = args.normalize != 0,
          .num_groups = args.num_groups,
          .top_groups = args.top_groups,
          .group_best = args.group_best,
          .scale = static_cast<T>(args.scale)};
}

// scratch: 2 * num_experts.
template <class T>
struct RouteToken {
  Routing<T> r;

  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t n, void* scratch) const {
    const int64_t slots = r.ids.cols;
    score_token(team, n);
    int32_t* id = r.ids[n];
    T* weight = r.weights[n];
    T* chosen = r.chosen_scores.data ? r.chosen_scores[n] : nullptr;
    int32_t* plain = r.plain_ids.data ? r.plain_ids[n] : nullptr;
    if (r.valid && !r.valid[n]) {
      team.each(slots, [&](int64_t a) {
        id[a] = -1;
        weight[a] = 0;
        if (chosen) chosen[a] = 0;
        if (plain) plain[a] = -1;
      });
      return;
    }
    T* open = static_cast<T*>(scratch);
    const T* score = r.scores[n];
    if (r.replay.data) {
      const int32_t* given = r.replay[n];
      team.each(slots, [&](int64_t a) { id[a] = given[a]; });
    } else {
      choose_experts(team, score, open, id);
    }
    if (plain) {
      team.each(r.logits.cols, [&](int64_t e) { open[e] = score[e]; });
      choose(team, open, r.logits.cols, slots, plain);
    }
    const T divisor = r.normalize ? chosen_sum(score, id, slots) : T{1};
    team.each(slots, [&](int64_t a) {
      const T s = id[a] < 0 ? T{0} : score[id[a]];
      weight[a] = s / divisor * r.scale;
      if (chosen) chosen[a] = s;
    });
  }

  template <class Team>
  ORTHANT_HD void score_token(Team team, int64_t n) const {
    const int64_t num_experts = r.logits.cols;
    const T* x = r.logits[n];
    T* score = r.scores[n];
    T total = 1;
    if (!r.sigmoid || r.lse) {
      const T row_lse = softmax_row<T, T>(team, x, score, num_experts);
      if (r.lse) team.once([&] { r.lse[n] = row_lse; });
    }
    if (r.sigmoid) {
      team.each(num_experts, [&](int64_t e) { score[e] = T{1} / (T{1} + exp_of(-x[e])); });
      total = team.template sum<T>(num_experts, [&](int64_t e) { return score[e]; }) +
              static_cast<T>(kScoreEpsilon);
    }
    team.once([&] { r.totals[n] = total; });
  }

  template <class Team>
  ORTHANT_HD void choose_experts(Team team, const T* score, T* open, int32_t* id) const {
    const int64_t num_experts = r.logits.cols;
    team.each(num_experts, [&](int64_t e) { open[e] = score[e] + (r.bias ? r.bias[e] : T{0}); });
    if (r.top_groups < r.num_groups)
      close_groups(team, open, open + num_experts, num_experts, r.num_groups, r.top_groups,
                   r.group_best);
    choose(team, open, num_experts, r.ids.cols, id);
  }
};

// Where a sequence's tokens are among the rows of a call.
struct SequenceRows {
  int64_t length, first_row, rows;
  ORTHANT_HD int64_t begin(int64_t s) const {
    return s * length > first_row ? s * length - first_row : 0;
  }
  ORTHANT_HD int64_t end(int64_t s) const {
    const int64_t end = (s + 1) * length - first_row;
    return end < rows ? end : rows;
  }
};

// Element (sequence, expert) of counts and score sums: over the sequence's tokens, in order.
template <class T>
struct RouterSums {
  Rows<const T> scores;
  const T* totals;
  Rows<const int32_t> ids, plain_ids;
  const int32_t* valid;
  Rows<double> counts, plain_counts, score_sums;
  SequenceRows rows;
  ORTHANT_HD void operator()(int64_t i) const {
    const int64_t s = i / scores.cols, e = i % scores.cols;
    double count = 0, plain = 0, sum = 0;
    for (int64_t n = rows.begin(s); n < rows.end(s); ++n) {
      if (valid && !valid[n]) continue;
      for (int64_t a = 0; a < ids.cols; ++a) {
        if (ids[n][a] == e) count += 1;
        if (plain_counts.data && plain_ids[n][a] == e) plain += 1;
      }
      sum += static_cast<double>(scores[n][e]) / static_cast<double>(totals[n]);
    }
    counts[s][e] = count;
    if (plain_counts.data) plain_counts[s][e] = plain;
    score_sums[s][e] = sum;
  }
};

// Element (sequence, group): tokens that chose an expert of the group.
struct GroupSums {
  Rows<const int32_t> ids;
  Rows<double> group_counts;
  SequenceRows rows;
  int64_t group_size;
  ORTHANT_HD void operator()(int64_t i) const {
    const int64_t s = i / group_counts.cols, d = i % group_counts.cols;
    double count = 0;
    for (int64_t n = rows.begin(s); n < rows.end(s); ++n) {
      bool sent = false;
      for (int64_t a = 0; a < ids.cols; ++a)
        sent = sent || (ids[n][a] >= 0 && ids[n][a] / group_size == d);
      count += sent;
    }
    group_counts[s][d] = count;
  }
};

// weight_a = scale * s_a / sum_b s_b, or scale * s_a; the balance losses' coefficients c are of
// s_j / t, t the sum of the scores; then back through softmax or sigmoid.
template <class T>
struct RouterGrad {
  Rows<const T> logits, scores;
  const T* totals;
  const int32_t* valid;
  Rows<const int32_t> ids;
  const T* lse;
  Rows<const T> dweights;
  Rows<const double> coef;
  Rows<T> dlogits;
  int64_t sequence_length, first_row;
  bool sigmoid, normalize;
  T scale, lse_factor;
  template <class Team>
  ORTHANT_HD void operator()(Team team, int64_t n, void* scratch) const {
    const int64_t num_experts = scores.cols;
    const T* score = scores[n];
    T* out = dlogits[n];
    if (valid && !valid[n]) {
      team.each(num_experts, [&](int64_t e) { out[e] = 0; });
      return;
    }
    T* dscores = static_cast<T*>(scratch);
    balance_gradient(team, n, dscores);
    if (dweights.data) add_weight_gradient(team, n, dscores);
    const T lse_term = lse ? lse_factor * lse[n] : T{0};
    if (sigmoid) {
      team.each(num_experts, [&](int64_t e) {
        const T softmax = lse ? exp_of(logits[n][e] - lse[n]) : T{0};
        out[e] = score[e] * (T{1} - score[e]) * dscores[e] + softmax * lse_term;
      });
      return;
    }
    const T dot =
        team.template sum<T>(num_experts, [&](int64_t e) { return score[e] * dscores[e]; });
    team.each(num_experts, [&](int64_t e) { out[e] = score[e] * (dscores[e] - dot + lse_term); });
  }

  template <class Team>
  ORTHANT_HD void balance_gradient(Team team, int64_t n, T* dscores) const {
    const int64_t num_experts = scores.cols;
    const double* c = coef.data ? coef[(first_row + n) / sequence_length] : nullptr;
    if (!c || !sigmoid) {
      team.each(num_experts, [&](int64_t e) { dscores[e] = c ? static_cast<T>(c[e]) : T{0}; });
      return;
    }
    const T* score = scores[n];
    const T total = totals[n];
    const T mean = team.template sum<T>(num_experts, [&](int64_t e) {
      return static_cast<T>(c[e]) * score[e];
    }) / total;
    team.each(num_experts, [&](int64_t e) { dscores[e] = (static_cast<T>(c[e]) - mean) / total; });
  }

  template <class Team>
  ORTHANT_HD void add_weight_gradient(Team team, int64_t n, T* dscores) const {
    const int64_t slots = ids.cols;
    const T* score = scores[n];
    const T* dweight = dweights[n];
    const int32_t* id = ids[n];
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
};

template <class T, class Exec>
int check_routing(Exec& exec, const RouterArgs& args) {
  const int64_t num_experts = rows_of<const T>(args.logits).cols;
  const Rows<const int32_t> ids = rows_of<const int32_t>(args.ids);
  const Rows<const int32_t> replay = rows_of<const int32_t>(args.replay);
  if (num_experts > kMaxExperts) return exec.fail("more than 4096 experts");
  if (ids.cols > num_experts) return exec.fail("more slots than experts");
  const int64_t sequences = rows_of<double>(args.counts).rows;
  if (args.sequence_length <= 0 || args.first_row < 0 ||
      args.first_row + ids.rows > sequences * args.sequence_length)
    return exec.fail("the tokens are beyond the sequences");
  if (args.num_groups < 1 || num_experts % args.num_groups)
    return exec.fail("the groups do not divide the experts");
  if (args.top_groups < 1 || args.top_groups > args.num_groups ||
      args.top_groups * (num_experts / args.num_groups) < ids.cols)
    return exec.fail("the open groups have fewer experts than slots");
  if (args.group_best != 1 && args.group_best != 2)
    return exec.fail("group_best is neither 1 nor 2");
  return replay.data ? check_ids(exec, replay, num_experts, "a replayed id is too large") : 0;
}

template <class T, class Exec>
int router_rows(Exec& exec, const RouterArgs* args) {
  if (const int status = check_routing<T>(exec, *args)) return status;
  const Routing<T> routing = routing_of<T>(*args);
  const int64_t num_experts = routing.logits.cols;
  const int64_t sequences = rows_of<double>(args->counts).rows;
  const SequenceRows of_sequence{args->sequence_length, args->first_row, routing.logits.rows};
  if (const int status =
          exec.rows(routing.logits.rows, RouteToken<T>{routing}, 2 * num_experts * kBytes<T>))
    return status;
  const Rows<const int32_t> ids = rows_of<const int32_t>(args->ids);
  const RouterSums<T> sums{rows_of<const T>(args->scores),
                           data_of<const T>(args->totals),
                           ids,
                           rows_of<const int32_t>(args->plain_ids),
                           routing.valid,
                           rows_of<double>(args->counts),
                           rows_of<double>(args->plain_counts),
                           rows_of<double>(args->score_sums),
                           of_sequence};
  if (const int status = exec.elements(sequences * num_experts, sums)) return status;
  return exec.elements(sequences * args->num_groups,
                       GroupSums{ids, rows_of<double>(args->group_counts), of_sequence,
                                 num_experts / args->num_groups});
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
    const RouterGrad<T> body{.logits = rows_of<const T>(args->logits),
                             .scores = scores,
                             .totals = data_of<const T>(args->totals),
                             .valid = data_of<const int32_t>(args->valid),
                             .ids = rows_of<const int32_t>(args->ids),
                             .lse = data_of<const T>(args->lse),
                             .dweights = rows_of<const T>(args->dweights),
                             .coef = rows_of<const double>(args->score_coef),
                             .dlogits = rows_of<T>(args->dlogits),
                             .sequence_length = args->sequence_length,
                             .first_row = args->first_row,
                             .sigmoid = args->score == ScoreKind::kSigmoid,
                             .normalize = args->normalize != 0,
                             .scale = static_cast<T>(args->scale),
                             .lse_factor = static_cast<T>(2 * args->z_coef)};
    if (scores.cols > kMaxExperts) return exec.fail("more than 4096 experts");
    if (body.sigmoid && (!body.totals || (body.lse && !body.logits.data)))
      return exec.fail("sigmoid scores want totals, and logits where lse is given");
    return exec.rows(scores.rows, body, scores.cols * kBytes<T>);
  });
}

}  // namespace orthant::cuda::kernels
