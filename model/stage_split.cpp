// SPDX-License-Identifier: Apache-2.0
#include "model/stage_split.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace orthant {
namespace {

std::vector<StageLayers> from_counts(const std::vector<int64_t>& counts) {
  std::vector<StageLayers> stages;
  int64_t begin = 0;
  for (const int64_t count : counts) {
    stages.push_back({begin, begin + count});
    begin += count;
  }
  return stages;
}

// cost[i] of layer i; the head's, and what predicts further, as part of the last one.
std::vector<double> layer_costs(const ModelConfig& model, int64_t sequence_length) {
  std::vector<double> costs;
  for (int64_t layer = 0; layer < model.num_hidden_layers; ++layer)
    costs.push_back(layer_flops_per_token(model, sequence_length, layer));
  costs.back() += last_stage_flops_per_token(model, sequence_length);
  return costs;
}

// The partition with the smallest largest sum, by dynamic programming over (stages, layers); of
// equal ones that with more layers early.
std::vector<int64_t> balanced_counts(const std::vector<double>& costs, int64_t stages) {
  const auto layers = std::ssize(costs);
  std::vector<double> sums(costs.size() + 1, 0.0);
  std::partial_sum(costs.begin(), costs.end(), sums.begin() + 1);
  const auto at = [](int64_t i) { return static_cast<size_t>(i); };
  const double never = std::numeric_limits<double>::infinity();
  // best[s][n]: n layers on s stages; cut[s][n]: layers before the last of these.
  std::vector<std::vector<double>> best(at(stages + 1), std::vector<double>(at(layers + 1), never));
  std::vector<std::vector<int64_t>> cut(at(stages + 1), std::vector<int64_t>(at(layers + 1), 0));
  best[0][0] = 0;
  for (int64_t s = 1; s <= stages; ++s) {
    for (int64_t n = s; n <= layers; ++n) {
      for (int64_t before = s - 1; before < n; ++before) {
        const double largest =
            std::max(best[at(s - 1)][at(before)], sums[at(n)] - sums[at(before)]);
        if (largest > best[at(s)][at(n)]) continue;
        best[at(s)][at(n)] = largest;
        cut[at(s)][at(n)] = before;
      }
    }
  }
  std::vector<int64_t> counts(at(stages));
  for (int64_t s = stages, n = layers; s > 0; --s) {
    counts[at(s - 1)] = n - cut[at(s)][at(n)];
    n = cut[at(s)][at(n)];
  }
  return counts;
}

std::string joined(const std::vector<int64_t>& numbers, const char* between) {
  std::string text;
  for (const int64_t n : numbers) text += concat(text.empty() ? "" : between, n);
  return text;
}

int64_t sum_of(const std::vector<int64_t>& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), int64_t{0});
}

// "3 numbers: 2 + 2 + 1 = 5"
std::string sum_text(const std::vector<int64_t>& numbers) {
  return concat(numbers.size(), " numbers: ", joined(numbers, " + "), " = ", sum_of(numbers));
}

}  // namespace

std::vector<StageLayers> split_stages(const ModelConfig& model, int64_t sequence_length,
                                      int64_t stages, const std::vector<int64_t>& layers_of) {
  const int64_t layers = model.num_hidden_layers;
  ORTHANT_CHECK(stages <= layers, kConfig, "parallel.pipeline_parallel_size: ", stages,
                " stages (ranks x chunks) want a layer each, but model.num_hidden_layers is ",
                layers, "; at most ", layers, " stages fit");
  const auto balanced = [&] {
    if (stages == 1) return std::vector<int64_t>{layers};
    return balanced_counts(layer_costs(model, sequence_length), stages);
  };
  if (layers_of.empty()) return from_counts(balanced());
  const int64_t sum = sum_of(layers_of);
  const bool positive =
      std::all_of(layers_of.begin(), layers_of.end(), [](int64_t n) { return n > 0; });
  ORTHANT_CHECK(std::ssize(layers_of) == stages && positive && sum == layers, kConfig,
                "parallel.pipeline_layers: want ", stages,
                " numbers above 0 (one a stage) that add "
                "up to model.num_hidden_layers ",
                layers, ", got ", sum_text(layers_of), "; balanced by operations: [",
                joined(balanced(), ", "), "]");
  return from_counts(layers_of);
}

}  // namespace orthant
