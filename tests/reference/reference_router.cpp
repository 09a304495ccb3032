// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/reference_router.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include "tests/reference/reference_ops.h"

namespace orthant::testing {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

// The `count` best of `values`, best first, ties to the lower index.
std::vector<int> best_of(const std::vector<double>& values, int64_t count) {
  std::vector<int> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return values[at(a)] > values[at(b)]; });
  order.resize(at(count));
  return order;
}

// Experts of one token: the best of the best groups, by score plus bias.
std::vector<int> choose(const ReferenceShape& s, const double* scores,
                        const std::vector<double>& bias) {
  const int64_t size = s.experts / s.groups;
  std::vector<double> affinity(scores, scores + s.experts);
  for (size_t e = 0; e < bias.size(); ++e) affinity[e] += bias[e];
  std::vector<double> group_values;
  for (int64_t d = 0; d < s.groups; ++d) {
    std::vector<double> members(affinity.begin() + d * size, affinity.begin() + (d + 1) * size);
    std::sort(members.rbegin(), members.rend());
    double value = 0;
    for (int64_t i = 0; i < std::min<int64_t>(s.group_best, size); ++i) value += members[at(i)];
    group_values.push_back(value);
  }
  const std::vector<int> open = best_of(group_values, s.top_groups);
  std::vector<int> chosen;
  for (int expert : best_of(affinity, s.experts)) {
    const bool is_open = std::count(open.begin(), open.end(), expert / static_cast<int>(size)) > 0;
    if (is_open && static_cast<int64_t>(chosen.size()) < s.experts_per_token)
      chosen.push_back(expert);
  }
  return chosen;
}

void set_gates(const ReferenceShape& s, RouterPass& p) {
  for (int64_t n = 0; n < p.scores.rows; ++n) {
    double sum = 0;
    for (int64_t a = 0; a < s.experts_per_token; ++a) {
      const int expert = p.chosen[at(n * s.experts_per_token + a)];
      p.gates.push_back(expert < 0 ? 0.0 : p.scores[n][expert]);
      sum += p.gates.back();
    }
    for (int64_t a = 0; a < s.experts_per_token; ++a) {
      double& gate = p.gates[at(n * s.experts_per_token + a)];
      if (s.normalize && sum > 0) gate /= sum;
      gate *= s.routed_scale;
    }
  }
}

// Each group of experts keeps ceil(capacity * T * A / groups) assignments.
void drop(const ReferenceShape& s, bool is_protected, RouterPass& p) {
  p.kept.assign(p.chosen.size(), true);
  if (s.capacity_factor == 0 || is_protected) return;
  const double budget =
      std::ceil(s.capacity_factor * p.tokens * static_cast<double>(s.experts_per_token) /
                static_cast<double>(s.groups));
  for (int64_t d = 0; d < s.groups; ++d) {
    std::vector<std::tuple<double, int64_t, int, size_t>> queue;  // best first
    for (size_t slot = 0; slot < p.chosen.size(); ++slot) {
      const int64_t token = static_cast<int64_t>(slot) / s.experts_per_token;
      const int expert = p.chosen[slot];
      if (expert >= 0 && expert / (s.experts / s.groups) == d)
        queue.emplace_back(-p.scores[token][expert], token, expert, slot);
    }
    std::sort(queue.begin(), queue.end());
    for (size_t i = 0; i < queue.size(); ++i)
      if (static_cast<double>(i) >= budget) p.kept[std::get<3>(queue[i])] = false;
  }
}

// P_i: the mean share of expert i in a token's scores.
std::vector<double> mean_shares(const ReferenceShape& s, const RouterPass& p) {
  std::vector<double> shares(at(s.experts), 0.0);
  for (int64_t n = 0; n < p.scores.rows; ++n) {
    if (p.padding[at(n)]) continue;
    double sum = 1;
    if (s.sigmoid) sum = std::accumulate(p.scores[n], p.scores[n] + s.experts, 0.0);
    for (int64_t e = 0; e < s.experts; ++e) shares[at(e)] += p.scores[n][e] / sum / p.tokens;
  }
  return shares;
}

// Each loss as its paper writes it.  T = p.tokens, E experts, A of them a token, D groups, M open.
void balance(const ReferenceShape& s, RouterPass& p) {
  p.dloss_dshare.assign(at(s.experts), 0.0);
  if (p.tokens == 0) return;
  const auto experts = static_cast<double>(s.experts);
  const auto groups = static_cast<double>(s.groups);
  const double even = static_cast<double>(s.experts_per_token) * p.tokens / experts;
  const int64_t size = s.experts / s.groups;
  const std::vector<double> shares = mean_shares(s, p);
  std::vector<double> f(at(s.experts)), plain(at(s.experts));
  std::vector<double> sent(at(s.groups));  // f'' of the group
  for (int64_t n = 0; n < p.scores.rows; ++n) {
    if (p.padding[at(n)]) continue;
    std::vector<bool> visited(at(s.groups), false);
    for (int64_t a = 0; a < s.experts_per_token; ++a) {
      const int expert = p.chosen[at(n * s.experts_per_token + a)];
      f[at(expert)] += 1 / even;
      visited[at(expert / size)] = true;
    }
    for (int64_t d = 0; d < s.groups; ++d)
      if (visited[at(d)]) sent[at(d)] += groups / (static_cast<double>(s.top_groups) * p.tokens);
    for (int expert : best_of({p.scores[n], p.scores[n] + s.experts}, s.experts_per_token))
      plain[at(expert)] += 1 / even;
  }
  double loss = 0;
  for (int64_t e = 0; e < s.experts; ++e) {
    loss += (s.balance * f[at(e)] + s.sequence_balance * plain[at(e)]) * shares[at(e)];
    p.dloss_dshare[at(e)] += s.balance * f[at(e)] + s.sequence_balance * plain[at(e)];
  }
  for (int64_t d = 0; d < s.groups; ++d) {
    double mean = 0, share = 0;
    for (int64_t e = d * size; e < (d + 1) * size; ++e) {
      mean += f[at(e)] / static_cast<double>(size);
      share += shares[at(e)];
    }
    const double factor = s.device_balance * mean + s.communication_balance * sent[at(d)];
    loss += factor * share;
    for (int64_t e = d * size; e < (d + 1) * size; ++e) p.dloss_dshare[at(e)] += factor;
  }
  double squares = 0;
  for (int64_t n = 0; n < p.scores.rows; ++n)
    if (!p.padding[at(n)]) squares += p.lse[at(n)] * p.lse[at(n)];
  p.balance = p.tokens * loss + s.z_loss * squares;
}

// Gradient by one token's scores: of its gates, and of the balance losses.
std::vector<double> score_gradient(const ReferenceShape& s, const RouterPass& p, int64_t n,
                                   const std::vector<double>& dgates, double balance_factor) {
  std::vector<double> dscores(at(s.experts), 0.0);
  const double* scores = p.scores[n];
  // tokens * dP_i/ds_j is 1 for i = j; with shares of a sum S it is (1[i = j] - s_i / S) / S.
  double sum = 1, along = 0;
  if (s.sigmoid) {
    sum = std::accumulate(scores, scores + s.experts, 0.0);
    for (int64_t e = 0; e < s.experts; ++e) along += p.dloss_dshare[at(e)] * scores[e] / sum;
  }
  for (int64_t e = 0; e < s.experts; ++e)
    dscores[at(e)] += balance_factor * (p.dloss_dshare[at(e)] - along) / sum;
  // gate = scale * score / sum of the chosen
  const int64_t first = n * s.experts_per_token, end = first + s.experts_per_token;
  double chosen_sum = 1, common = 0;
  if (s.normalize) {
    chosen_sum = 0;
    for (int64_t i = first; i < end; ++i) chosen_sum += scores[p.chosen[at(i)]];
    for (int64_t i = first; i < end; ++i)
      common += dgates[at(i)] * scores[p.chosen[at(i)]] / (chosen_sum * chosen_sum);
  }
  for (int64_t i = first; i < end; ++i)
    dscores[at(p.chosen[at(i)])] += s.routed_scale * (dgates[at(i)] / chosen_sum - common);
  return dscores;
}

}  // namespace

RouterPass route_row(const ReferenceShape& s, const Matrix& logits, const std::vector<double>& bias,
                     const ReferenceRow& row, const std::vector<int>* replay) {
  RouterPass p{.logits = logits, .scores = logits};
  for (int64_t n = 0; n < logits.rows; ++n) {
    p.padding.push_back(row.ids[at(n)] < 0);
    p.tokens += p.padding.back() ? 0 : 1;
    p.lse.push_back(softmax(p.scores[n], s.experts));
    for (int64_t e = 0; s.sigmoid && e < s.experts; ++e)
      p.scores[n][e] = 1 / (1 + std::exp(-logits[n][e]));
    std::vector<int> chosen(at(s.experts_per_token), -1);
    if (!p.padding.back()) {
      chosen = choose(s, p.scores[n], bias);
      if (replay)
        chosen.assign(replay->begin() + n * s.experts_per_token,
                      replay->begin() + (n + 1) * s.experts_per_token);
    }
    p.chosen.insert(p.chosen.end(), chosen.begin(), chosen.end());
  }
  set_gates(s, p);
  drop(s, row.is_protected, p);
  balance(s, p);
  return p;
}

Matrix router_backward(const ReferenceShape& s, const RouterPass& p,
                       const std::vector<double>& dgates, double balance_factor) {
  Matrix dlogits(p.scores.rows, s.experts);
  for (int64_t n = 0; n < p.scores.rows; ++n) {
    if (p.padding[at(n)]) continue;
    const std::vector<double> dscores = score_gradient(s, p, n, dgates, balance_factor);
    const double dlse = balance_factor * s.z_loss * 2.0 * p.lse[at(n)];
    double mean = 0;
    for (int64_t e = 0; e < s.experts; ++e) mean += p.scores[n][e] * dscores[at(e)];
    for (int64_t e = 0; e < s.experts; ++e) {
      const double score = p.scores[n][e];
      const double dscore =
          s.sigmoid ? score * (1 - score) * dscores[at(e)] : score * (dscores[at(e)] - mean);
      dlogits[n][e] = dscore + dlse * std::exp(p.logits[n][e] - p.lse[at(n)]);
    }
  }
  return dlogits;
}

}  // namespace orthant::testing
