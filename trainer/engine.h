// SPDX-License-Identifier: Apache-2.0
// Runs a role towards an objective: one training step, one evaluation or one scoring at a time.
//
// Sizes come from the micro-batches: those of a step may differ in shape, and every data-parallel
// rank has equally many of them, a contiguous block of the step's.  Every function that talks to
// other ranks says so; all ranks of the role call it in the same order.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "optim/config.h"
#include "trainer/role.h"

namespace orthant {

struct StepResult {
  double objective_loss = 0;  // sum of the rows' losses over what the objective counts
  double balance_loss = 0;    // weighted mean over the step's sequences, all layers and terms
  double grad_norm = 0;       // before clipping
  double learning_rate = 0;
  double count = 0;  // of the objective: labelled tokens
  int64_t routed_tokens = 0;
  std::vector<double> sums;     // of Objective::sum_names(), over the step
  bool skipped = false;         // the norm was not finite: no rank updated anything
  bool stop_requested = false;  // by any rank, see step()
  // Per MoE layer: tokens of the step by expert, as chosen, and how many of these assignments were
  // dropped.
  std::vector<std::vector<double>> expert_counts;
  std::vector<double> dropped;
};

struct EvaluationResult {
  double loss = 0;   // total over count
  double total = 0;  // of the rows' losses: nats, for language modelling
  double count = 0;
  std::vector<double> sums;  // of Objective::sum_names()
  // Of other micro-batches.
  void add(const EvaluationResult& other);
};

struct EngineOptions {
  ScheduleConfig schedule = {.shape = ScheduleShape::kConstant};
  double learning_rate = 3e-4;  // the schedule's peak
  double grad_clip = 1.0;       // 0: none
  int64_t reduction_lanes = 8;  // parallel/lanes.h; 1: a rank adds its micro-batches in order
};

class Engine {
 public:
  Engine(std::shared_ptr<Role> role, std::shared_ptr<const Objective> objective,
         const EngineOptions& options);

  // One optimizer step over this rank's micro-batches, in global order.  step counts from 1 and
  // keys learning rate and dropout.  stop: this rank wants to end; the answer is for all ranks.
  // Collective.
  StepResult step(std::span<const MicroBatch> micro_batches, int64_t step, bool stop = false);
  // Forward and backward only: gradients are ready in role().gradients(); collective.
  StepResult accumulate(std::span<const MicroBatch> micro_batches, int64_t step, bool stop = false);
  // Sum over this rank's micro-batches, all of one shape, and all ranks.  Collective.
  EvaluationResult evaluate(const std::function<MicroBatch(int64_t)>& batch,
                            int64_t num_batches) const;
  // Forward alone, without gradients: `see` gets each micro-batch in every stage of this rank, with
  // what the objective made of it in the last one.  Collective.
  void forward(std::span<const MicroBatch> micro_batches,
               const std::function<void(const StageMicroBatch&)>& see) const;
  // The loss of every token of every micro-batch of this data-parallel rank, on all ranks that
  // share it; no gradient.  -log p(label) for language modelling.  Collective.
  std::vector<std::vector<double>> score(std::span<const MicroBatch> micro_batches) const;

  Role& role() const { return *role_; }
  const Objective& objective() const { return *objective_; }
  // Expert choices to use instead of the router's: (local micro-batch, layer) -> ids i32 [N, A].
  void set_replay(std::function<Tensor(int64_t micro_batch, int64_t layer)> replay) {
    replay_ = std::move(replay);
  }
  // Called with every micro-batch's routing, in every stage of this rank.
  void set_routing_observer(std::function<void(int64_t micro_batch, const MoeContext&)> observer) {
    observer_ = std::move(observer);
  }

 private:
  std::shared_ptr<Role> role_;
  std::shared_ptr<const Objective> objective_;
  EngineOptions options_;
  std::function<Tensor(int64_t, int64_t)> replay_;
  std::function<void(int64_t, const MoeContext&)> observer_;
};

}  // namespace orthant
