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
std::shared_ptr<const QuantizationRules> quantization_rules(const RunConfig& config);

// RoleTraining::trains: adapters and the modules that train whole; empty where there are no rules.
std::function<bool(const std::string& logical_name)> trained_with(
    const std::shared_ptr<const LoraRules>& rules);

// Where the base of a run's adapters is, as its checkpoints say.
struct AdapterBase {
  std::string place;        // of a checkpoint: "RUN/base/checkpoints/step-00000000", or a path
  std::string fingerprint;  // of its weights
  void fields(FieldVisitor& v) {
    v.field("base", place, any_text(), "checkpoint that the adapters stand beside, if any");
    v.field("base_fingerprint", fingerprint, any_text(), "of its weights");
  }
};
// Of a checkpoint that a run in `run_dir` takes for its base.
AdapterBase base_at(const Manifest& manifest, const std::string& run_dir);
// The base that a run in `run_dir` had.  Error(kMissingInput), Error(kData): it is not there any
// more, or has other weights; `instead`, if any, is looked at then.
Manifest find_base(const AdapterBase& base, const std::string& run_dir,
                   const std::string& instead = "");
// As a checkpoint's `extra` says it; an empty place where it has none.
AdapterBase base_of_adapters(const Manifest& manifest);
// XXH3-128 of names, shapes and checksums of the weights.
std::string weights_fingerprint(const Manifest& manifest);

// Elements of the whole model.
struct TrainedShare {
  int64_t trained = 0, adapters = 0, all = 0;  // trained: adapters included
  double share() const { return static_cast<double>(trained) / static_cast<double>(all); }
};
// Counts them, and checks that every pattern of the rules, if there are any, names a module of the
// model: Error(kConfig) otherwise.  Collective over the role's world.
TrainedShare check_trained(const Role& role, const LoraRules* rules);
// Logs what trains and what is frozen, where anything is.
void describe_training(const TrainedShare& share);

}  // namespace orthant
