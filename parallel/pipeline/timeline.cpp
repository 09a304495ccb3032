// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline/timeline.h"

#include <algorithm>
#include <limits>

namespace orthant::pipeline {

double Timeline::total() const {
  double first = std::numeric_limits<double>::infinity(), last = -first;
  for (const auto& spans : ranks) {
    for (const Span& span : spans) {
      if (!is_compute(span.action.act)) continue;
      first = std::min(first, span.start);
      last = std::max(last, span.end);
    }
  }
  return std::max(0.0, last - first);
}

double Timeline::busy(int rank) const {
  double sum = 0;
  for (const Span& span : ranks[static_cast<size_t>(rank)])
    if (is_compute(span.action.act)) sum += span.end - span.start;
  return sum;
}

double Timeline::bubble_share() const {
  double sum = 0;
  for (size_t rank = 0; rank < ranks.size(); ++rank) sum += busy(static_cast<int>(rank));
  const double all = total() * static_cast<double>(ranks.size());
  return all > 0 ? 1 - sum / all : 0;
}

}  // namespace orthant::pipeline
