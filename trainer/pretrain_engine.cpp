// SPDX-License-Identifier: Apache-2.0
#include "trainer/pretrain_engine.h"

#include "base/context.h"
#include "trainer/adapters.h"
#include "trainer/device.h"
#include "trainer/weight_source.h"

namespace orthant {
RoleOptions role_options(const RunPlan& plan, Device device) {
  const RunConfig& config = plan.config();
  const ParallelConfig& parallel = config.parallel;
  const std::shared_ptr<const LoraRules> adapters = lora_rules(config);
  return {.stages = {.model = config.model,
                     .moe = config.moe,
                     .dtype = config.precision,
                     .device = device,
                     .schedule = parallel.pipeline_schedule,
                     .chunks = static_cast<int>(parallel.pipeline_chunks),
                     .layers = plan.stage_layers(),
                     .recompute = parallel.recompute,
                     .recompute_layers = parallel.recompute_layers,
                     .dropout_seed = static_cast<uint64_t>(config.run.seed),
                     .adapters = only_adapter(adapters)},
          .training = RoleTraining{.optimizer = config.optimizer,
                                   .zero = parallel.zero_stage == 1,
                                   .bucket_bytes = parallel.bucket_bytes,
                                   .trains = trained_with(adapters)}};
}

EngineOptions engine_options(const RunPlan& plan) {
  const RunConfig& config = plan.config();
  return {.schedule = config.schedule,
          .learning_rate = config.optimizer.learning_rate,
          .grad_clip = config.optimizer.grad_clip,
          .reduction_lanes = plan.reduction_lanes()};
}

Engine pretrain_engine(const RunPlan& plan, const Group& world, Device device,
                       const WeightSource& weights, std::shared_ptr<const Objective> objective) {
  const RunConfig& config = plan.config();
  context().any_order = config.run.determinism == Determinism::kNone;
  const RankGroups groups =
      make_rank_groups(world, config.parallel, config.model.num_key_value_heads);
  const auto role = std::make_shared<Role>(role_options(plan, device), groups, weights);
  if (!objective)
    objective = std::make_shared<LanguageModeling>(config.model.num_nextn_predict_layers > 0);
  return Engine(role, std::move(objective), engine_options(plan));
}

Engine pretrain_engine(const RunPlan& plan, const Group& world, Device device) {
  const auto seed = static_cast<uint64_t>(plan.config().run.seed);
  return pretrain_engine(plan, world, device, random_weights(seed));
}

Engine pretrain_engine(const RunPlan& plan, const Group& world) {
  return pretrain_engine(plan, world, device_of(plan.config().device));
}

}  // namespace orthant
