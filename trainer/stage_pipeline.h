// SPDX-License-Identifier: Apache-2.0
// The stages of the model that this rank holds, and the way of micro-batches through them.
//
// A model on one pipeline rank is one stage, whose schedule is forward, backward, forward, ...
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "parallel/pipeline/interpreter.h"
#include "parallel/tied_stages.h"
#include "trainer/objective.h"
#include "trainer/run/pipeline_record.h"

namespace orthant {

struct StageOptions {
  ModelConfig model;  // resolved
  MoeConfig moe;
  DType dtype = DType::kF32;
  Device device;
  std::string schedule = "1f1b";  // parallel/pipeline/generators.h
  int chunks = 0;                 // stages of a rank; 0: as many as the schedule has by itself
  std::vector<StageLayers> layers = {};  // of each stage; empty: one stage holds all
  Recompute recompute = Recompute::kNone;
  int64_t recompute_layers = 0;  // the first ones of each stage; 0: all
  uint64_t dropout_seed = 0;
  NamedAdapters adapters = {};
};

// A micro-batch in a stage; the address stays until its backward has run.
struct StageMicroBatch {
  int micro_batch = 0;  // of this rank
  std::shared_ptr<const MicroBatch> batch;
  Pass pass;
  Var x, y;            // the stream into the stage and out of it, or the loss
  ObjectiveRows rows;  // of the last stage
};

class StagePipeline {
 public:
  // Adds the stages' parameters to the store.  Collective.
  StagePipeline(const StageOptions& options, const RankGroups& ranks, ParameterStore& store);

  const std::vector<std::unique_ptr<Transformer>>& stages() const { return stages_; }
  // The parameters that first and last stage share, where they are on two ranks; null otherwise.
  std::shared_ptr<const TiedStages> tied_stages() const { return tied_; }
  // Once what trains is settled: ranks tell each other below which stages nothing does.  Collective
  // over the pipeline.
  void settle_gradients();

  // Writes on from prompts with all stages.  Collective over the pipeline.
  Decoder decoder(const DecoderOptions& options = {}) const;

  // What a step asks of the stages.
  struct Work {
    int num_micro_batches = 0;
    // Rows of a micro-batch that is to be received: (sequences, length).
    std::function<std::pair<int64_t, int64_t>(int micro_batch)> shape_of;
    std::function<void(StageMicroBatch&)> prepare;  // fills in batch and pass
    const Objective* objective = nullptr;
    // Sees each micro-batch behind its forward, in every stage of this rank.
    std::function<void(const StageMicroBatch&)> observe;
  };
  // Forward and backward of a step's micro-batches.  Collective over the pipeline.
  void train(int64_t step, const Work& work);
  // Forward alone, without a tape.  Collective over the pipeline.
  void evaluate(const Work& work) const;
  // The next training step is recorded: it begins behind a barrier, and ends with gathering what
  // all ranks of the pipeline did and when, on the clock of its first rank.
  void record_next_step() { is_recorded_ = true; }
  const PipelineRecord& last_record() const { return record_; }  // step 0: none

 private:
  const Transformer& stage(int index) const { return *stages_.at(slot_of_.at(index)); }
  const pipeline::Schedule& schedule_of(int num_micro_batches);
  Tensor forward(int stage, int micro_batch, const Tensor& x, const Work& work,
                 StageMicroBatch& run) const;
  // Backward of one micro-batch in a stage: the gradient by what came into it.
  Tensor backward_of(int stage, StageMicroBatch& run, const Tensor& dy,
                     WeightGradQueue* queue) const;
  Tensor stream_like(const Work& work, int micro_batch) const;

  StageOptions options_;
  const ParameterStore& store_;
  pipeline::Schedule nominal_;  // which rank has which stage, for any number of micro-batches
  std::vector<std::unique_ptr<Transformer>> stages_;
  std::map<int, size_t> slot_of_;                // by stage: place in stages_
  std::vector<size_t> first_parameters_;         // in the store, by place in stages_
  std::vector<bool> trains_below_;               // by stage: whether a lower one has what trains
  std::map<int, pipeline::Schedule> schedules_;  // by micro-batches of a step
  pipeline::PipelineGroups groups_;
  std::shared_ptr<const TiedStages> tied_;
  bool is_recorded_ = false;
  PipelineRecord record_;
};

}  // namespace orthant
