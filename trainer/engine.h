// SPDX-License-Identifier: Apache-2.0
// A model with its gradients and optimizer on this rank: one training step, or one evaluation, at a
// time.
//
// Every function that talks to other ranks says so; all ranks of the group call it in the same
// order.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "data/batch.h"
#include "model/transformer.h"
#include "parallel/comm/group.h"
#include "parallel/parameter_optimizer.h"
#include "parallel/rank_groups.h"
#include "trainer/run_config.h"
#include "trainer/stage_pipeline.h"

namespace orthant {

struct StepResult {
  double lm_loss = 0;       // mean over the step's labelled tokens
  double balance_loss = 0;  // weighted mean over the step's sequences, all layers and terms
  double grad_norm = 0;     // before clipping
  double learning_rate = 0;
  int64_t labelled_tokens = 0, routed_tokens = 0;
  bool skipped = false;         // the norm was not finite: no rank updated anything
  bool stop_requested = false;  // by any rank, see step()
  // Per MoE layer: tokens of the step by expert, as chosen, and how many of these assignments were
  // dropped.
  std::vector<std::vector<double>> expert_counts;
  std::vector<double> dropped;
};

struct EvaluationResult {
  double loss = 0;  // mean over labelled tokens, language loss only
  double total_nats = 0;
  int64_t labelled_tokens = 0;
};

class Engine {
 public:
  // config is resolved for world.size() ranks.  Initial weights come from config.run.seed.  The
  // model is on device_of(config.device).  Collective.
  Engine(const RunConfig& config, const Group& world);

  // One optimizer step over this rank's micro-batches, in global order (rank r has the r-th
  // contiguous block).  step counts from 1 and keys learning rate and dropout.  stop: this rank
  // wants to end; the answer is for all ranks.  Collective.
  StepResult step(std::span<const Batch> micro_batches, int64_t step, bool stop = false);
  // Forward and backward only: gradients are ready in gradients(); collective.
  StepResult accumulate(std::span<const Batch> micro_batches, int64_t step, bool stop = false);
  // Sum over this rank's batches and all ranks.  Collective.
  EvaluationResult evaluate(const std::function<Batch(int64_t)>& batch, int64_t num_batches) const;

  // The whole model: without pipeline parallelism.
  const Transformer& model() const { return *pipeline_->stages().front(); }
  StagePipeline& pipeline() { return *pipeline_; }
  const StagePipeline& pipeline() const { return *pipeline_; }
  const ParameterStore& store() const { return store_; }
  const GradientBuffers& gradients() const { return *gradients_; }
  ParameterOptimizer& optimizer() { return *optimizer_; }
  const RankGroups& groups() const { return groups_; }
  Device device() const { return device_; }
  int64_t updates() const { return updates_; }  // optimizer steps that were not skipped
  void set_updates(int64_t updates) { updates_ = updates; }
  // Expert choices to use instead of the router's: (local micro-batch, layer) -> ids i32 [N, A].
  void set_replay(std::function<Tensor(int64_t micro_batch, int64_t layer)> replay) {
    replay_ = std::move(replay);
  }
  // Called with every micro-batch's routing, in every stage of this rank.
  void set_routing_observer(std::function<void(int64_t micro_batch, const MoeContext&)> observer) {
    observer_ = std::move(observer);
  }

 private:
  LanePlan lanes_of_step(int64_t step) const;
  // Settles how the step's gradients are added up.
  void plan_step(int64_t num_micro_batches, int64_t step);
  // Adds what a stage found out about a micro-batch.
  void record(const StageMicroBatch& run, std::vector<double>& per_sequence,
              StepResult& result) const;
  // Losses of the step's sequences, from all ranks, into the result.
  void sum_losses(std::vector<double> per_sequence, StepResult& result) const;

  RunConfig config_;
  RankGroups groups_;
  Device device_;
  ParameterStore store_;
  std::unique_ptr<StagePipeline> pipeline_;
  LanePlan lanes_;
  std::unique_ptr<GradientBuffers> gradients_;
  std::unique_ptr<ParameterOptimizer> optimizer_;
  int64_t updates_ = 0;
  std::function<Tensor(int64_t, int64_t)> replay_;
  std::function<void(int64_t, const MoeContext&)> observer_;
};

}  // namespace orthant
