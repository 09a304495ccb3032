// SPDX-License-Identifier: Apache-2.0
// Blocks of a configuration that every command which trains or generates is composed of; those of
// the layers below stand with their owners (model/config.h, parallel/config.h, data/config.h...).
#pragma once

#include <string>

#include "base/config/fields.h"
#include "data/batch_sizes.h"
#include "model/config.h"

namespace orthant {

enum class Determinism { kLayout, kRun, kNone };  // docs/numerics.md
const EnumNames<Determinism>& determinism_names();

struct RunSection {
  std::string name = "run";
  std::string dir;  // empty: runs/<name>
  int64_t seed = 1234;
  int64_t max_steps = 0;
  std::string resume = "auto";
  bool accept_changes = false;
  Determinism determinism = Determinism::kLayout;
  int64_t reduction_lanes = 8;
  void fields(FieldVisitor& v);
  // Error(kConfig): no steps, or a name that is no file's.
  void validate() const;
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
  double top_p = 1.0, min_p = 0.0;
  double repetition_penalty = 1.0;
  void fields(FieldVisitor& v);
};

struct GenerationConfig {
  std::string prompt;
  SamplingConfig sampling;
  LatentForm mla = LatentForm::kAbsorbed;
  int64_t max_sequences = 64;
  int64_t samples = 1;
  void fields(FieldVisitor& v);
};

}  // namespace orthant
