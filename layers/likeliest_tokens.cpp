// SPDX-License-Identifier: Apache-2.0
#include "layers/likeliest_tokens.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/parallel_for.h"
#include "tensor/autograd/soft_loss.h"

namespace orthant {
namespace {

struct Candidate {
  double logit = kNoLogit;
  int32_t id = -1;  // none
};

bool comes_first(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// A sum of exponentials that grows.
struct LogSum {
  double max = kNoLogit, sum = 0;
  void add(double logit, double times = 1) {
    if (logit > max) {
      sum *= std::exp(max - logit);
      max = logit;
    }
    sum += times * std::exp(logit - max);
  }
  double log() const { return sum > 0 ? max + std::log(sum) : kNoLogit; }
};

// The first `k` of what is added, and the sum of all others.
class Selection {
 public:
  explicit Selection(size_t k) : k_(k) {}

  void add(const Candidate& candidate) {
    if (best_.size() == k_) {
      if (!comes_first(candidate, best_.front())) return rest_.add(candidate.logit);
      rest_.add(best_.front().logit);
      std::pop_heap(best_.begin(), best_.end(), comes_first);
      best_.pop_back();
    }
    best_.push_back(candidate);
    std::push_heap(best_.begin(), best_.end(), comes_first);
  }
  // In order; none where there were fewer.
  std::vector<Candidate> best() const {
    std::vector<Candidate> sorted = best_;
    std::sort(sorted.begin(), sorted.end(), comes_first);
    sorted.resize(k_);
    return sorted;
  }
  const LogSum& rest() const { return rest_; }

  // What ranks tell each other: the sum of the others, then logit and id of each of the first.
  static size_t told_numbers(size_t k) { return 2 + 2 * k; }
  void tell(double* out) const {
    *out++ = rest_.max;
    *out++ = rest_.sum;
    for (const Candidate& candidate : best()) {
      *out++ = candidate.logit;
      *out++ = candidate.id;
    }
  }
  void hear(const double* told) {
    if (told[1] > 0) rest_.add(told[0], told[1]);
    for (size_t i = 0; i < k_; ++i)
      if (const double id = told[3 + 2 * i]; id >= 0)
        add({told[2 + 2 * i], static_cast<int32_t>(id)});
  }

 private:
  size_t k_;
  std::vector<Candidate> best_;  // a heap, the last of them in front
  LogSum rest_;
};

// Log-probabilities at a temperature that the logits have been divided by.
void write_row(const Selection& selection, int32_t* ids, double* log_probs) {
  const std::vector<Candidate> best = selection.best();
  LogSum all = selection.rest();
  for (const Candidate& candidate : best) all.add(candidate.logit);
  for (size_t i = 0; i < best.size(); ++i) {
    ids[i] = best[i].id;
    log_probs[i] = best[i].logit - all.log();
  }
  log_probs[best.size()] = std::max(kNoLogit, selection.rest().log() - all.log());
}

}  // namespace

void find_likeliest(const Tensor& logits, int64_t first, double temperature,
                    std::span<const int32_t> labels,
                    const std::function<Tensor(const Tensor&)>& gather, int64_t begin,
                    const LikeliestTokens& out) {
  const auto k = static_cast<size_t>(out.ids.dim(1)), own = static_cast<size_t>(logits.dim(1)),
             n = labels.size(), numbers = Selection::told_numbers(k);
  const std::vector<double> values = logits.to_doubles();
  const auto told_shape = Shape{static_cast<int64_t>(n), static_cast<int64_t>(numbers)};
  const Tensor told = Tensor::zeros(told_shape, DType::kF64);
  const auto each_row = [&](const std::function<void(size_t)>& f) {
    parallel_for(static_cast<int64_t>(n), 1, [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; ++r)
        if (labels[static_cast<size_t>(r)] >= 0) f(static_cast<size_t>(r));
    });
  };
  each_row([&](size_t r) {
    Selection selection(k);
    for (size_t i = 0; i < own; ++i)
      selection.add({values[r * own + i] / temperature,
                     static_cast<int32_t>(first + static_cast<int64_t>(i))});
    selection.tell(told.as<double>() + r * numbers);
  });
  const Tensor all = gather ? gather(told.to(logits.device())).to(Device{}) : told;
  const size_t parts = static_cast<size_t>(all.dim(0)) / n;
  each_row([&](size_t r) {
    Selection selection(k);
    for (size_t p = 0; p < parts; ++p) selection.hear(all.as<double>() + (p * n + r) * numbers);
    const size_t row = static_cast<size_t>(begin) + r;
    write_row(selection, out.ids.as<int32_t>() + row * k,
              out.log_probs.as<double>() + row * (k + 1));
  });
}

}  // namespace orthant
