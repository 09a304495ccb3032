// SPDX-License-Identifier: Apache-2.0
// What layout tests expect of a run, and the largest differences that they found.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <limits>
#include <map>
#include <string>

#include "base/error.h"
#include "tests/layouts/reference_run.h"

namespace orthant::testing {

inline double relative(double got, double want) {
  return std::isfinite(got) ? std::abs(got - want) / std::max(std::abs(want), 1e-12)
                            : std::numeric_limits<double>::infinity();
}

// The largest differences of a test, by kind; printed when the test ends.
class Worst {
 public:
  explicit Worst(double tolerance) : tolerance_(tolerance) {}
  ~Worst() {
    for (const auto& [kind, difference] : worst_)
      std::cout << "  worst " << kind << ": " << difference.error << " in " << difference.tensor
                << "\n";
  }
  Worst(const Worst&) = delete;
  Worst& operator=(const Worst&) = delete;

  void expect(const std::string& kind, const WorstDifference& d, const std::string& where) {
    EXPECT_LE(d.error, tolerance_) << where << ": " << kind << " " << d.tensor;
    WorstDifference& worst = worst_[kind];
    if (worst.tensor.empty() || d.error > worst.error) worst = {d.error, d.tensor + ", " + where};
  }
  void expect_values(const std::string& kind, const NamedValues& got, const NamedValues& want,
                     const std::string& where) {
    expect(kind, worst_difference(got, want), where);
  }
  void expect_number(const std::string& kind, double got, double want, const std::string& where) {
    expect(kind, {relative(got, want), concat(got, " for ", want)}, where);
  }

 private:
  double tolerance_;
  std::map<std::string, WorstDifference> worst_;
};

inline void expect_losses(Worst& worst, const EngineRun& run, const ReferenceRun& want,
                          size_t steps, const std::string& where) {
  for (size_t i = 0; i < steps; ++i) {
    const std::string at = concat(where, " step ", i + 1);
    worst.expect_number("lm loss", run.steps[i].objective_loss, want.steps[i].lm_loss, at);
    if (want.steps[i].balance_loss > 0)
      worst.expect_number("balance loss", run.steps[i].balance_loss, want.steps[i].balance_loss,
                          at);
    if (want.steps[i].further_loss > 0)
      worst.expect_number("mtp loss", run.steps[i].sums.at(0) / run.steps[i].count,
                          want.steps[i].further_loss, at);
    worst.expect_number("norm", run.steps[i].grad_norm, want.norms[i], at);
    EXPECT_EQ(run.steps[i].count, static_cast<double>(want.steps[i].labelled_tokens)) << at;
    EXPECT_EQ(run.steps[i].routed_tokens, want.steps[i].routed_tokens) << at;
    EXPECT_FALSE(run.steps[i].skipped) << at;
  }
}

// Tokens of the step by expert, as the choices say; layers without experts are left out.
inline std::vector<std::vector<double>> counts_of(const std::vector<RowChoices>& rows,
                                                  int64_t experts) {
  std::vector<std::vector<double>> counts;
  for (size_t layer = 0; layer < rows.front().size(); ++layer) {
    if (rows.front()[layer].empty()) continue;
    std::vector<double>& count = counts.emplace_back(static_cast<size_t>(experts), 0.0);
    for (const RowChoices& row : rows)
      for (int expert : row[layer])
        if (expert >= 0) count[static_cast<size_t>(expert)] += 1;
  }
  return counts;
}

// `values` by layer, without the dense ones.
inline std::vector<double> moe_layers_of(const ReferenceResult& step,
                                         const std::vector<double>& values) {
  std::vector<double> result;
  for (size_t layer = 0; layer < values.size(); ++layer)
    if (!step.counts[layer].empty()) result.push_back(values[layer]);
  return result;
}

// fp64: everything, after every kind of update.
inline void expect_equals_reference(Worst& worst, const Variant& variant,
                                    const LayoutOptions& options, int ranks) {
  const ReferenceRun& want = reference_run(variant, options);
  const EngineRun run = run_on_threads(variant, options, ranks);
  const std::string where =
      concat(variant.name, " ranks ", ranks, " pp ", options.pipeline_parallel_size, " cp ",
             options.context_parallel_size, " tp ", options.tensor_parallel_size,
             options.sequence_parallel ? "" : " without sp", " ep ", options.expert_parallel_size,
             " etp ", options.expert_tensor_parallel_size, " ", options.optimizer);
  expect_losses(worst, run, want, want.steps.size(), where);
  worst.expect_values("gradients", run.gradients, want.gradients, where);
  worst.expect_values("weights", run.weights, want.weights, where);
  worst.expect_values("m", run.m, want.m, where);
  worst.expect_values("v", run.v, want.v, where);
  EXPECT_EQ(run.choices, want.choices) << where;
  for (size_t i = 0; i < run.steps.size(); ++i) {
    EXPECT_EQ(run.steps[i].expert_counts,
              counts_of(want.choices[i], variant.config.model.n_routed_experts))
        << where;
    EXPECT_EQ(run.steps[i].dropped, moe_layers_of(want.steps[i], want.steps[i].dropped)) << where;
  }
}

}  // namespace orthant::testing
