// SPDX-License-Identifier: Apache-2.0
// Shows that layouts compute the same thing, on a user's own configuration: the same steps on one
// rank and on each layout, in f64 and in the configuration's precision, compared as
// docs/numerics.md says.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "trainer/layout_run.h"

namespace orthant {

// A layout as users write it: "dp2+pp2+cp2+tp2+ep2+zero0+selective+mb2".
struct LayoutSpec {
  std::string text;
  int64_t data_parallel_size = 1, tensor_parallel_size = 1, context_parallel_size = 1;
  int64_t pipeline_parallel_size = 1, pipeline_chunks = 0;
  std::string pipeline_schedule;  // empty: the configuration's
  bool ulysses = false;
  int64_t expert_parallel_size = 1, expert_tensor_parallel_size = 1;  // folded over the same ranks
  bool sequence_parallel = true;
  int64_t micro_batch_size = 0;  // 0: the configuration's
  int64_t zero_stage = -1;       // -1: the configuration's
  Recompute recompute = Recompute::kNone;

  int ranks() const {
    return static_cast<int>(data_parallel_size * tensor_parallel_size * context_parallel_size *
                            pipeline_parallel_size);
  }
  // The configuration, not resolved, on this layout.
  RunConfig applied_to(RunConfig config) const;
};
// Error(kUsage) naming what is not understood.
LayoutSpec parse_layout(const std::string& text);
// Why a configuration (not resolved) does not allow a layout, and what would; "" where it does.
std::string why_not(const LayoutSpec& layout, const RunConfig& config);
// One for each axis and some for several, up to so many ranks; not all of them fit.
std::vector<LayoutSpec> default_layouts(const RunConfig& config, int max_ranks);

// One number of a comparison.
struct LayoutMeasure {
  std::string name;  // "fp64 gradients"
  double difference = 0, tolerance = 0;
  std::string tensor;  // the worst one
  bool passed() const { return difference <= tolerance; }
};
struct LayoutVerdict {
  LayoutSpec layout;
  std::vector<LayoutMeasure> measures;  // the same names for every layout
  // What differs first from one rank in the configuration's precision, "" when all bits are equal.
  std::string first_bit_difference;
  bool passed() const;
};

struct VerifyLayoutOptions {
  std::vector<LayoutSpec> layouts;
  int64_t steps = 3;        // of the comparisons of gradients and weights
  int64_t bf16_steps = 20;  // of the comparison of losses
};

// The configuration with a smaller model and batch of the same kinds: every part that a layout cuts
// stays, also the ratios of heads and of experts to groups.
RunConfig scaled_down(RunConfig config);

// config as the user gave it, not resolved; batches of micro_batch_size 1, numbered over the step's
// rows.  With a world of one the ranks are threads of this process; under a launcher layouts must
// have its number of ranks.  on_verdict is called as results come.  Error of a layout that cannot
// be run: as the configuration's.  Collective.
std::vector<LayoutVerdict> verify_layouts(
    const RunConfig& config, const std::function<MicroBatch(int64_t step, int64_t row)>& rows,
    const VerifyLayoutOptions& options, const Group& world,
    const std::function<void(const LayoutVerdict&)>& on_verdict);

}  // namespace orthant
