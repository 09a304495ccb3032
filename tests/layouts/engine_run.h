// SPDX-License-Identifier: Apache-2.0
// A few steps of trainer/engine.h on a group of ranks, with all that can be compared afterwards.
#pragma once

#include <string>
#include <vector>

#include "tests/layouts/variants.h"
#include "tests/reference/reference_model.h"
#include "tests/testing/closeness.h"
#include "trainer/engine.h"

namespace orthant::testing {

using StepChoices = std::vector<std::vector<RowChoices>>;  // by step, then row of the step

struct EngineOptions {
  std::string precision = "fp64";
  std::string optimizer = "adamw";
  double learning_rate = 1e-3;
  int64_t steps = 3;
  std::string recompute = "none";
  std::string determinism = "layout";
  int64_t reduction_lanes = 8;
  int64_t zero_stage = 1;
  int64_t bucket_bytes = 16 << 10;      // several buckets even of tiny models
  bool repeat_data = false;             // every step sees the rows of the first
  bool gradients = false;               // also of the first step's mean loss
  const StepChoices* replay = nullptr;  // expert choices to use instead of the router's
};

struct EngineRun {
  std::vector<StepResult> steps;
  NamedValues gradients;              // before the first update
  NamedValues weights, values, m, v;  // at the end: masters, and what the model computes with;
                                      // whole, with ZeRO put together from all ranks
  StepChoices choices;                // of this rank's rows
};

// Initial weights of a variant: the engine's, rounded to f32, so that runs of any precision may
// start from the same ones; gains of norms are moved away from 1.
const Matrices& initial_weights(const Variant& variant);

RunConfig resolved_config(const Variant& variant, const EngineOptions& options, int world_size);
void load_weights(Engine& engine, const Matrices& weights);  // collective
// This rank's block of a step's micro-batches.
std::vector<Batch> own_batches(const Variant& variant, const Group& group, int64_t step);

// Weights, values and moments as they are now.  Collective.
EngineRun state_of(Engine& engine);
// Collective over the group.
EngineRun run_engine(const Variant& variant, const EngineOptions& options, const Group& group);
// Thread ranks; throws when they do not end with the same bits.  Returns rank 0's run with
// everybody's choices.
EngineRun run_on_threads(const Variant& variant, const EngineOptions& options, int num_ranks,
                         int threads_per_rank = 1);

// Everything whose bits must not depend on the layout: weights, moments, losses, norms, loads.
NamedValues bits_of(const EngineRun& run);

}  // namespace orthant::testing
