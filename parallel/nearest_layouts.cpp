// SPDX-License-Identifier: Apache-2.0
#include "parallel/nearest_layouts.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"

namespace orthant {
namespace {

constexpr size_t kMost = 3;
constexpr int kMostOtherRanks = 64;  // how far other numbers of ranks are looked at

struct Candidate {
  ParallelConfig layout;
  int changed = 0;   // sizes
  double ratio = 0;  // sum of |log2| of theirs
};

void add_change(Candidate& candidate, int64_t from, int64_t to) {
  candidate.changed += from != to;
  candidate.ratio += std::abs(std::log2(static_cast<double>(to) / static_cast<double>(from)));
}

Candidate candidate_of(const ParallelConfig& wanted, const ParallelConfig& sizes, int ranks) {
  Candidate candidate{.layout = sizes};
  ParallelConfig& layout = candidate.layout;
  if (wanted.data_parallel_size > 0)
    add_change(candidate, wanted.data_parallel_size, ranks / layout.ranks_per_replica());
  for (const auto size :
       {&ParallelConfig::tensor_parallel_size, &ParallelConfig::context_parallel_size,
        &ParallelConfig::pipeline_parallel_size, &ParallelConfig::expert_parallel_size,
        &ParallelConfig::expert_tensor_parallel_size})
    add_change(candidate, wanted.*size, layout.*size);
  layout.data_parallel_size = 0;
  layout.pipeline_layers.clear();
  return candidate;
}

template <class Body>
void for_divisors(int64_t number, const Body& body) {
  for (int64_t d = 1; d <= number; ++d)
    if (number % d == 0) body(d);
}

// All sizes that multiply to `ranks`, nearest first.
std::vector<Candidate> candidates_of(const ParallelConfig& wanted, int ranks) {
  std::vector<Candidate> candidates;
  ParallelConfig c = wanted;
  for_divisors(ranks, [&](int64_t pp) {
    c.pipeline_parallel_size = pp;
    for_divisors(ranks / pp, [&](int64_t cp) {
      c.context_parallel_size = cp;
      for_divisors(ranks / pp / cp, [&](int64_t tp) {
        c.tensor_parallel_size = tp;
        for_divisors(ranks / pp, [&](int64_t ep) {
          c.expert_parallel_size = ep;
          for_divisors(ranks / pp / ep, [&](int64_t etp) {
            c.expert_tensor_parallel_size = etp;
            candidates.push_back(candidate_of(wanted, c, ranks));
          });
        });
      });
    });
  });
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) {
                     return std::pair(a.changed, a.ratio) < std::pair(b.changed, b.ratio);
                   });
  return candidates;
}

// "dp 2, tp 4; dp 4, tp 2", or "".
std::string fitting(const std::vector<Candidate>& candidates, int ranks, size_t most,
                    const SettleLayout& settle) {
  std::string text;
  for (size_t i = 0, found = 0; i < candidates.size() && found < most; ++i) {
    ParallelConfig layout = candidates[i].layout;
    try {
      settle(layout, ranks);
    } catch (const Error&) {
      continue;
    }
    ++found;
    text += (text.empty() ? "" : "; ") + layout.text();
  }
  return text;
}

}  // namespace

std::string nearest_layouts(const ParallelConfig& wanted, int ranks, const SettleLayout& settle) {
  const std::vector<Candidate> candidates = candidates_of(wanted, ranks);
  const auto same = std::find_if(candidates.begin(), candidates.end(),
                                 [](const Candidate& c) { return c.changed == 0; });
  if (same != candidates.end() && !fitting({*same}, ranks, 1, settle).empty()) return "";
  const std::string beginning =
      concat("nearest layouts for ", ranks, ranks == 1 ? " rank" : " ranks");
  const std::string here = fitting(candidates, ranks, kMost, settle);
  if (!here.empty()) return concat(beginning, ": ", here);
  if (wanted.pipeline_chunks > 0) {
    ParallelConfig plain = wanted;
    plain.pipeline_chunks = 0;
    const std::string without = fitting(candidates_of(plain, ranks), ranks, kMost, settle);
    if (!without.empty()) return concat(beginning, ", without pipeline_chunks: ", without);
  }
  std::string others;
  for (const int direction : {-1, 1}) {
    for (int n = ranks + direction; n >= 1 && std::abs(n - ranks) <= kMostOtherRanks;
         n += direction) {
      const std::string text = fitting(candidates_of(wanted, n), n, 1, settle);
      if (text.empty()) continue;
      others += concat(others.empty() ? "; " : ", ", "on ", n, ": ", text);
      break;
    }
  }
  return concat("no layout of ", ranks, " ranks fits this model and batch", others);
}

}  // namespace orthant
