// SPDX-License-Identifier: Apache-2.0
// A run of pre-training, described: what a YAML file and the command line say, and what follows.
#pragma once

#include <string>

#include "data/config.h"
#include "model/config.h"
#include "model/stage_split.h"
#include "moe/config.h"
#include "optim/config.h"
#include "parallel/config.h"
#include "parallel/pipeline/generators.h"
#include "tensor/dtype.h"
#include "trainer/run_blocks.h"

namespace orthant {

struct RunConfig {
  std::string device = "cpu";
  std::string precision = "bf16";
  RunSection run;
  ModelConfig model;
  MoeConfig moe;
  ParallelConfig parallel;
  BatchConfig batch;
  DataConfig data;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  EvaluationConfig evaluation;
  CheckpointConfig checkpoint;
  LoggingConfig logging;
  GenerationConfig generation;
  // parallel.data_parallel_size was not given (no key: set when a run is resolved).
  bool replicas_follow_ranks = false;

  void fields(FieldVisitor& v);
  // The same with all settled that was left open, for this number of ranks; relations between
  // fields are checked, before anything is allocated.  Error(kConfig), all problems at once, a line
  // each.
  RunConfig resolved(int world_size) const;
  DType dtype() const;
  // As it is stored with a run.  What the user left to the number of ranks stays open, so that the
  // text goes on with any other.
  std::string yaml() const;

 private:
  void settle(int world_size);
  // What the number of ranks says; Error(kConfig) when they cannot share the model or the batch.
  // The model is settled.
  void settle_layout(int world_size);
};

// Of a step's micro-batches, on a resolved configuration.  Error(kConfig) when they do not fit.
pipeline::Schedule make_step_schedule(const RunConfig& config, int64_t step);
// Layers of each of the pipeline's stages, given or balanced.  Error(kConfig) as split_stages.
std::vector<StageLayers> stage_layers(const RunConfig& config, int stages);
// "1f1b, 2 stages of 5, 3 layers, balanced by operations"; on a resolved configuration.
std::string pipeline_text(const RunConfig& config);

}  // namespace orthant
