// SPDX-License-Identifier: Apache-2.0
// Layout runs (trainer/layout_run.h) of the variants.
#pragma once

#include <string>

#include "tests/layouts/variants.h"
#include "tests/reference/reference_model.h"
#include "trainer/layout_run.h"

namespace orthant::testing {

using orthant::RowChoices;

struct LayoutOptions {
  std::string precision = "fp64";
  std::string optimizer = "adamw";
  double learning_rate = 1e-3;
  int64_t steps = 3;
  std::string recompute = "none";
  int64_t recompute_layers = 0;
  std::string determinism = "layout";
  int64_t reduction_lanes = 8;
  int64_t zero_stage = 1;
  int64_t bucket_bytes = 16 << 10;  // several buckets even of tiny models
  int64_t tensor_parallel_size = 1;
  bool sequence_parallel = true;
  int64_t context_parallel_size = 1;
  std::string context_parallel_kind = "ring";
  int64_t pipeline_parallel_size = 1;
  std::string pipeline_schedule = "1f1b";
  int64_t expert_parallel_size = 1, expert_tensor_parallel_size = 1;
  bool repeat_data = false;             // every step sees the rows of the first
  bool gradients = false;               // also of the first step's mean loss
  const StepChoices* replay = nullptr;  // expert choices to use instead of the router's
};

using EngineRun = LayoutRun;

// Initial weights of a variant: the engine's, rounded to f32, so that runs of any precision may
// start from the same ones; gains of norms are moved away from 1.
const NamedValues& initial_weights(const Variant& variant);
// The same for the reference.
Matrices matrices_of(const Variant& variant, const NamedValues& weights);

RunPlan plan_of(const Variant& variant, const LayoutOptions& options, int world_size);
// This rank's block of a step's micro-batches.
std::vector<MicroBatch> own_batches(const Variant& variant, const Group& group, int64_t step);

// Collective over the group.
EngineRun run_engine(const Variant& variant, const LayoutOptions& options, const Group& group);
// Thread ranks; throws when they do not end with the same bits.
EngineRun run_on_threads(const Variant& variant, const LayoutOptions& options, int num_ranks,
                         int threads_per_rank = 1);

}  // namespace orthant::testing
