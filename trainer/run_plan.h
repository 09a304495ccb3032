// SPDX-License-Identifier: Apache-2.0
// What a configuration and a number of ranks give together: made once, before anything is
// allocated, and never written to.
#pragma once

#include <string>
#include <vector>

#include "model/stage_split.h"
#include "trainer/run_config.h"

namespace orthant {

// That so many ranks, with a resolved layout, can share the model.  Error(kConfig).
void check_layout(const ModelConfig& model, const ParallelConfig& parallel, int world_size,
                  int64_t sequence_length);

class RunPlan {
 public:
  // Settles what the configuration leaves open and checks how its fields go together.
  // Error(kConfig), all problems at once, a line each; a layout that cannot be comes with the
  // nearest ones that can.
  RunPlan(const RunConfig& given, int world_size);

  // With nothing left open.
  const RunConfig& config() const { return config_; }
  int world_size() const { return world_size_; }
  // As it is stored with a run: settled, but what the user left to the number of ranks and to
  // run.max_steps stays open, so that the text goes on with others.
  std::string yaml() const;
  RunConfig open_config() const;  // what yaml() is written of

  // Whether the user said where the schedule ends, or left it to run.max_steps.
  bool schedule_end_is_given() const { return given_.schedule.total_steps > 0; }
  RunPlan with_schedule_end(int64_t total_steps) const;

  // Lanes that a step's sums are made in (docs/numerics.md).
  int64_t reduction_lanes() const;
  // Of each of the pipeline's stages, given or balanced.
  const std::vector<StageLayers>& stage_layers() const { return stage_layers_; }
  // "1f1b, 2 stages of 5, 3 layers, balanced by operations".
  std::string pipeline_text() const;

 private:
  RunConfig given_, config_;
  int world_size_;
  std::vector<StageLayers> stage_layers_;
};

}  // namespace orthant
