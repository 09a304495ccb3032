// SPDX-License-Identifier: Apache-2.0
// A run, described: what a YAML file and the command line say, and what follows from them.
#pragma once

#include <string>

#include "data/batch_sizes.h"
#include "data/config.h"
#include "model/config.h"
#include "model/stage_split.h"
#include "moe/config.h"
#include "optim/config.h"
#include "parallel/config.h"
#include "parallel/pipeline/generators.h"
#include "tensor/dtype.h"

namespace orthant {

struct RunSection {
  std::string name = "run";
  std::string dir;  // empty: runs/<name>
  int64_t seed = 1234;
  int64_t max_steps = 0;
  std::string resume = "auto";
  bool accept_changes = false;
  std::string determinism = "layout";
  int64_t reduction_lanes = 8;
  void fields(FieldVisitor& v);
};

struct BatchConfig {
  int64_t micro_batch_size = 1;
  int64_t global_batch_size = 0;
  int64_t sequence_length = 0;
  int64_t ramp_start = 0, ramp_increment = 0, ramp_samples = 0;  // all 0: no ramp
  void fields(FieldVisitor& v);
  // Error(kConfig) for sizes that do not fit together.
  void validate() const;
  // Error(kConfig) for a ramp whose batches the replicas cannot share.
  void check_ramp(int64_t replicas) const;
  BatchSizes sizes() const { return {global_batch_size, ramp_start, ramp_increment, ramp_samples}; }
  int64_t micro_batches() const { return global_batch_size / micro_batch_size; }  // after the ramp
  int64_t micro_batches_of_step(int64_t step) const {                             // from 1
    return sizes().size_of_step(step) / micro_batch_size;
  }
};

struct EvaluationConfig {
  int64_t interval = 0;  // 0 = never
  int64_t tokens = 0;    // 0 = the whole split
  int64_t micro_batch_size = 0;
  void fields(FieldVisitor& v);
};

struct CheckpointConfig {
  int64_t interval = 0;
  int64_t keep = 2;
  bool asynchronous = true;
  void fields(FieldVisitor& v);
};

struct LoggingConfig {
  int64_t interval = 10;
  std::string progress = "auto";
  bool tensorboard = true;
  double peak_tflops = 0.0;
  void fields(FieldVisitor& v);
};

// How tokens are drawn, wherever text is generated.
struct SamplingConfig {
  int64_t max_new_tokens = 200;
  double temperature = 0.8;
  int64_t top_k = 0;
  double top_p = 1.0;
  void fields(FieldVisitor& v);
};

struct GenerationConfig {
  std::string prompt;
  SamplingConfig sampling;
  int64_t samples = 1;
  void fields(FieldVisitor& v);
};

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
  // Settles what was left open and checks relations between fields, before anything is allocated.
  // Error(kConfig), all problems at once, a line each.
  void resolve(int world_size);
  DType dtype() const;
  // As it is stored with a run.  What the user left to the number of ranks stays open, so that the
  // text goes on with any other.
  std::string yaml() const;

 private:
  // Settles what the number of ranks says; Error(kConfig) when they cannot share the model or the
  // batch.  The model is resolved.
  void settle_layout(int world_size);
};

// Of a step's micro-batches, on a resolved configuration.  Error(kConfig) when they do not fit.
pipeline::Schedule make_step_schedule(const RunConfig& config, int64_t step);
// Layers of each of the pipeline's stages, given or balanced.  Error(kConfig) as split_stages.
std::vector<StageLayers> stage_layers(const RunConfig& config, int stages);
// "1f1b, 2 stages of 5, 3 layers, balanced by operations"; on a resolved configuration.
std::string pipeline_text(const RunConfig& config);

}  // namespace orthant
