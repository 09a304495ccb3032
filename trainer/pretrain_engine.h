// SPDX-License-Identifier: Apache-2.0
// Role and engine of pre-training, as a run's configuration says.
#pragma once

#include "trainer/engine.h"
#include "trainer/run_config.h"

namespace orthant {

// config is resolved for the ranks of the role.
RoleOptions role_options(const RunConfig& config);
EngineOptions engine_options(const RunConfig& config);

// One role that trains all of the model towards language modelling, its weights drawn by
// config.run.seed.  Collective.
Engine pretrain_engine(const RunConfig& config, const Group& world);

}  // namespace orthant
