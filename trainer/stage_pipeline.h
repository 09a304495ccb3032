// SPDX-License-Identifier: Apache-2.0
// The stages of the model that this rank holds, and the way of micro-batches through them.
//
// A model on one pipeline rank is one stage, whose schedule is forward, backward, forward, ...
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "model/transformer.h"
#include "parallel/pipeline/interpreter.h"
#include "parallel/tied_stages.h"
#include "trainer/pipeline_record.h"
#include "trainer/run_config.h"

namespace orthant {

// A micro-batch in a stage; the address stays until its backward has run.
struct StageMicroBatch {
  int micro_batch = 0;  // of this rank
  Pass pass;
  Var x, y;       // the stream into the stage and out of it, or the loss
  Tensor losses;  // of the last stage: f64, by local row
};

class StagePipeline {
 public:
  // Adds the stages' parameters to the store.  Collective.
  StagePipeline(const RunConfig& config, const RankGroups& ranks, Device device,
                ParameterStore& store);

  const std::vector<std::unique_ptr<Transformer>>& stages() const { return stages_; }
  // The parameters that first and last stage share, where they are on two ranks; null otherwise.
  std::shared_ptr<const TiedStages> tied_stages() const { return tied_; }

  // Makes the pass of a micro-batch.
  using Prepare = std::function<void(StageMicroBatch&)>;
  // Sees each micro-batch behind its forward, in every stage of this rank.
  using Observe = std::function<void(const StageMicroBatch&)>;
  // Forward and backward of a step's micro-batches.  Collective over the pipeline.
  void train(int64_t step, const Prepare& prepare, const Observe& observe);
  // Forward alone, without a tape.  Collective over the pipeline.
  void evaluate(int num_micro_batches, const Prepare& prepare, const Observe& observe) const;
  // The next training step is recorded: it begins behind a barrier, and ends with gathering what
  // all ranks of the pipeline did and when, on the clock of its first rank.
  void record_next_step() { is_recorded_ = true; }
  const PipelineRecord& last_record() const { return record_; }  // step 0: none
  const pipeline::Schedule& schedule_of(int64_t step);

 private:
  const Transformer& stage(int index) const { return *stages_.at(slot_of_.at(index)); }
  Tensor forward(int stage, int micro_batch, const Tensor& x, const Prepare& prepare,
                 const Observe& observe, StageMicroBatch& run) const;

  const RunConfig& config_;
  Device device_;
  std::vector<std::unique_ptr<Transformer>> stages_;
  std::map<int, size_t> slot_of_;                    // by stage: place in stages_
  std::map<int64_t, pipeline::Schedule> schedules_;  // by micro-batches of a step
  pipeline::PipelineGroups groups_;
  std::shared_ptr<const TiedStages> tied_;
  bool is_recorded_ = false;
  PipelineRecord record_;
};

}  // namespace orthant
