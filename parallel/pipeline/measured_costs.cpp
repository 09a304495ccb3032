// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline/measured_costs.h"

#include <array>

namespace orthant::pipeline {
namespace {

struct Mean {
  double sum = 0;
  int count = 0;
  double value() const { return count > 0 ? sum / count : 0; }
};

}  // namespace

Costs mean_costs(const Schedule& schedule, const Timeline& measured) {
  std::vector<std::array<Mean, 4>> means(schedule.rank_of.size());  // by stage and Act
  for (const auto& spans : measured.ranks) {
    for (const Span& span : spans) {
      if (!is_compute(span.action.act)) continue;
      Mean& mean =
          means[static_cast<size_t>(span.action.stage)][static_cast<size_t>(span.action.act)];
      mean.sum += span.end - span.start;
      ++mean.count;
    }
  }
  Costs costs;
  for (const auto& stage : means) {
    const auto of = [&](Act act) { return stage[static_cast<size_t>(act)].value(); };
    costs.by_stage.push_back({.forward = of(Act::kForward),
                              .backward_input = of(Act::kBackwardInput),
                              .backward_weight = of(Act::kBackwardWeight),
                              .backward = of(Act::kBackward)});
  }
  return costs;
}

}  // namespace orthant::pipeline
