// SPDX-License-Identifier: Apache-2.0
#include "trainer/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace orthant {
namespace {

// Token ids, likelier ones first, in order as far as anybody looks.
class ByLogit {
 public:
  explicit ByLogit(const std::vector<double>& logits) : logits_(logits), ids_(logits.size()) {
    std::iota(ids_.begin(), ids_.end(), 0);
  }
  int32_t operator[](size_t i) {
    while (i >= sorted_) {
      const size_t next = std::min(ids_.size(), std::max<size_t>(64, 4 * sorted_));
      const auto begin = ids_.begin() + static_cast<ptrdiff_t>(sorted_);
      const auto end = ids_.begin() + static_cast<ptrdiff_t>(next);
      std::partial_sort(begin, end, ids_.end(), [this](int32_t a, int32_t b) {
        const double la = logit(a), lb = logit(b);
        // Ties go to the lower id, so that greedy decoding is one answer.
        return la != lb ? la > lb : a < b;
      });
      sorted_ = next;
    }
    return ids_[i];
  }
  double logit(int32_t id) const { return logits_[static_cast<size_t>(id)]; }

 private:
  const std::vector<double>& logits_;
  std::vector<int32_t> ids_;
  size_t sorted_ = 0;
};

}  // namespace

void penalize_repetition(std::vector<double>& logits, const std::set<int32_t>& seen,
                         double penalty) {
  if (penalty == 1.0) return;
  for (const int32_t token : seen) {
    const auto at = static_cast<size_t>(token);
    if (at < logits.size())
      logits[at] = logits[at] > 0 ? logits[at] / penalty : logits[at] * penalty;
  }
}

int32_t draw_token(const std::vector<double>& logits, const SamplingConfig& sampling,
                   double uniform) {
  if (sampling.temperature == 0.0)
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  ByLogit order(logits);
  const double largest = *std::max_element(logits.begin(), logits.end());
  const auto weight = [&](double logit) {
    return std::exp((logit - largest) / sampling.temperature);
  };
  size_t candidates = logits.size();
  double total = 0;
  if (sampling.top_k > 0 && sampling.top_k < std::ssize(logits)) {
    candidates = static_cast<size_t>(sampling.top_k);
    for (size_t i = 0; i < candidates; ++i) total += weight(order.logit(order[i]));
  } else {
    for (const double logit : logits) total += weight(logit);
  }
  if (sampling.top_p < 1.0 || sampling.min_p > 0.0) {
    double kept = 0;
    size_t count = 0;
    while (count < candidates && kept < sampling.top_p * total) {
      const double next = weight(order.logit(order[count]));
      if (next < sampling.min_p) break;  // the likeliest weighs 1
      kept += next;
      ++count;
    }
    candidates = count;
    total = kept;
  }
  double left = uniform * total;
  for (size_t i = 0; i < candidates; ++i) {
    left -= weight(order.logit(order[i]));
    if (left <= 0) return order[i];
  }
  return order[candidates - 1];
}

double log_probability(std::span<const double> logits, int32_t token) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - largest);
  return logits[static_cast<size_t>(token)] - (largest + std::log(sum));
}

}  // namespace orthant
