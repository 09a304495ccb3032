// SPDX-License-Identifier: Apache-2.0
// Role and engine of pre-training, as a run's configuration says.
#pragma once

#include "trainer/engine.h"
#include "trainer/run_plan.h"

namespace orthant {

RoleOptions role_options(const RunPlan& plan, Device device);
EngineOptions engine_options(const RunPlan& plan);

// One role that trains all of the model, or its adapters, towards an objective; null: language
// modelling.  Collective over the plan's ranks.
Engine pretrain_engine(const RunPlan& plan, const Group& world, Device device,
                       const WeightSource& weights,
                       std::shared_ptr<const Objective> objective = nullptr);
// With weights that are drawn by run.seed, on the configuration's device or another.
Engine pretrain_engine(const RunPlan& plan, const Group& world, Device device);
Engine pretrain_engine(const RunPlan& plan, const Group& world);

}  // namespace orthant
