// SPDX-License-Identifier: Apache-2.0
// Adapters of a run: which there are, and what of a model trains with them.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "trainer/role.h"
#include "trainer/run_config.h"

namespace orthant {

// Null where the configuration asks for none.
std::shared_ptr<const LoraRules> lora_rules(const RunConfig& config);

// RoleTraining::trains: adapters and the modules that train whole; empty where there are no rules.
std::function<bool(const std::string& logical_name)> trained_with(
    const std::shared_ptr<const LoraRules>& rules);

// Elements of the whole model.
struct TrainedShare {
  int64_t trained = 0, adapters = 0, all = 0;  // trained: adapters included
};
// Counts them, and checks that every pattern of the rules, if there are any, names a module of the
// model: Error(kConfig) otherwise.  Collective over the role's world.
TrainedShare check_trained(const Role& role, const LoraRules* rules);

}  // namespace orthant
