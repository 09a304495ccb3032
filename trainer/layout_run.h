// SPDX-License-Identifier: Apache-2.0
// A few training steps on one layout, with everything that must not depend on the layout: what
// `orthant verify layout` and the layout tests compare.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "trainer/closeness.h"
#include "trainer/engine.h"
#include "trainer/run_plan.h"

namespace orthant {

// Expert ids of a row by layer, [tokens * experts_per_token], best first, -1 for padding; empty for
// dense layers.
using RowChoices = std::vector<std::vector<int>>;
using StepChoices = std::vector<std::vector<RowChoices>>;  // by step, then row of the step

// What trains, and what looks at a step's micro-batches first: a teacher; empty: nothing.
struct LayoutEngine {
  Engine engine;
  std::function<void(std::span<MicroBatch>)> look_at = {};
};

struct LayoutRunOptions {
  int64_t steps = 3;
  bool gradients = false;  // also of the first step's mean loss, before the first update
  // Initial weights by logical name; empty: as the configuration draws them.
  NamedValues weights;
  const StepChoices* replay = nullptr;  // expert choices to use instead of the router's
  // Empty: pre-training's.
  std::function<LayoutEngine(const RunPlan& plan, const Group& world)> make = {};
};

struct LayoutRun {
  std::vector<StepResult> steps;
  NamedValues gradients;
  NamedValues weights, values, m, v;  // at the end: masters, and what the model computes with
  StepChoices choices;
};

// Micro-batches of a step (from 1), numbered globally.  Called by several ranks at once.
using MicroBatchSource = std::function<MicroBatch(int64_t step, int64_t micro_batch)>;

// plan: for world.size() ranks, without a batch ramp.  Every rank gets whole tensors;
// ranks that hold the same elements are checked to hold the same bits (Error(kNumeric)).
// Collective.
LayoutRun run_layout(const RunPlan& plan, const MicroBatchSource& batches,
                     const LayoutRunOptions& options, const Group& world);

// Weights, values and moments as they are now.  Collective.
void add_state(const Role& role, LayoutRun& run);
// Masters and values from whole tensors by logical name.  Collective.
void load_weights(Role& role, const NamedValues& weights);
// The weights that a run of this configuration starts from, in its precision.
NamedValues initial_values(const RunPlan& plan);

// Everything whose bits must not depend on the layout: weights, moments, losses, norms, loads.
NamedValues bits_of(const LayoutRun& run);

}  // namespace orthant
