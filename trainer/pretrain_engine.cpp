// SPDX-License-Identifier: Apache-2.0
#include "trainer/pretrain_engine.h"

#include "base/context.h"
#include "trainer/device.h"
#include "trainer/weight_source.h"

namespace orthant {
namespace {

Recompute recompute_of(const std::string& name) {
  if (name == "selective") return Recompute::kSelective;
  return name == "full" ? Recompute::kFull : Recompute::kNone;
}

}  // namespace

RoleOptions role_options(const RunConfig& config) {
  const ParallelConfig& parallel = config.parallel;
  return {.stages = {.model = config.model,
                     .moe = config.moe,
                     .dtype = config.dtype(),
                     .device = device_of(config.device),
                     .schedule = parallel.pipeline_schedule,
                     .chunks = static_cast<int>(parallel.pipeline_chunks),
                     .layers = stage_layers(config, make_step_schedule(config, 1).stages()),
                     .recompute = recompute_of(parallel.recompute),
                     .recompute_layers = parallel.recompute_layers,
                     .dropout_seed = static_cast<uint64_t>(config.run.seed)},
          .training = RoleTraining{.optimizer = config.optimizer,
                                   .zero = parallel.zero_stage == 1,
                                   .bucket_bytes = parallel.bucket_bytes}};
}

EngineOptions engine_options(const RunConfig& config) {
  return {.schedule = config.schedule,
          .learning_rate = config.optimizer.learning_rate,
          .grad_clip = config.optimizer.grad_clip,
          .reduction_lanes = config.run.determinism == "layout" ? config.run.reduction_lanes : 1};
}

Engine pretrain_engine(const RunConfig& config, const Group& world) {
  context().any_order = config.run.determinism == "none";
  return Engine(
      std::make_shared<Role>(role_options(config), make_rank_groups(world, config.parallel),
                             random_weights(static_cast<uint64_t>(config.run.seed))),
      std::make_shared<LanguageModeling>(), engine_options(config));
}

}  // namespace orthant
