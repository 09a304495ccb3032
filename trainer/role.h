// SPDX-License-Identifier: Apache-2.0
// A model in a loop: its stages and weights on given ranks and, where it trains, its gradients and
// its optimizer.  Pre-training has one role; other loops have several on the same ranks.
//
// What trains is settled before gradients and optimizer are made: what is frozen has neither.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/transformer.h"
#include "parallel/parameter_optimizer.h"
#include "parallel/rank_groups.h"
#include "trainer/run/session.h"
#include "trainer/stage_pipeline.h"

namespace orthant {

struct RoleTraining {
  OptimizerConfig optimizer;
  bool zero = true;  // optimizer state shared out over replicas
  int64_t bucket_bytes = 8 << 20;
  // Which logical tensors train; empty: all.  Those of one storage (q, k and v; the experts of a
  // rank) train together or not at all.
  std::function<bool(const std::string& logical_name)> trains = {};
};

struct RoleOptions {
  std::string name;  // "" for the only one: in messages, and in front of its tensors in checkpoints
  StageOptions stages;
  std::optional<RoleTraining> training;  // none: a frozen role, which keeps its weights alone
};

class Role;
// Fills in a role's weights, masters included where it trains.  Collective over the role's ranks.
using WeightSource = std::function<void(Role& role)>;

class Role {
 public:
  // Collective over the groups.  Error(kConfig) where `trains` divides a storage.
  Role(const RoleOptions& options, const RankGroups& ranks, const WeightSource& weights);
  Role(const Role&) = delete;
  Role& operator=(const Role&) = delete;

  const std::string& name() const { return options_.name; }
  const RankGroups& groups() const { return groups_; }
  Device device() const { return options_.stages.device; }
  const ModelConfig& config() const { return options_.stages.model; }
  // Its routers drop tokens in training, beyond a capacity.
  bool drops_tokens() const { return options_.stages.moe.capacity_factor > 0; }
  // It has a layer for multi-token prediction, which trains with it.
  bool predicts_further() const { return config().num_nextn_predict_layers > 0; }
  StagePipeline& pipeline() { return *pipeline_; }
  const StagePipeline& pipeline() const { return *pipeline_; }
  // It is adapters over a base, which stays as it is.
  bool has_adapters() const { return !options_.stages.adapters.empty(); }
  // The whole model: without pipeline parallelism.
  const Transformer& model() const { return *pipeline_->stages().front(); }
  ParameterStore& store() { return store_; }
  const ParameterStore& store() const { return store_; }

  bool trains() const { return optimizer_ != nullptr; }
  // Of a role that trains.
  GradientBuffers& gradients() const { return *gradients_; }
  ParameterOptimizer& optimizer() const { return *optimizer_; }
  int64_t updates() const { return updates_; }  // optimizer steps that were not skipped
  void set_updates(int64_t updates) { updates_ = updates; }

  // After masters, or weights that no optimizer updates, were written.  Collective.
  void publish_weights();
  // What a checkpoint holds of it (trainer/training_state.h), and the state beside its tensors.
  SavedTensors saved();
  void fields(FieldVisitor& v);
  std::string prefix() const;  // of its tensors in checkpoints: "" or "critic."

 private:
  void freeze();

  RoleOptions options_;
  RankGroups groups_;
  ParameterStore store_;
  std::unique_ptr<StagePipeline> pipeline_;
  std::unique_ptr<GradientBuffers> gradients_;
  std::unique_ptr<ParameterOptimizer> optimizer_;
  int64_t updates_ = 0;
};

}  // namespace orthant
