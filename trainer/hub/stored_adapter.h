// SPDX-License-Identifier: Apache-2.0
// Adapters that were trained before, over a model that may lie elsewhere: those of a run, or of a
// folder that PEFT wrote.  What takes them need not know which.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "trainer/role.h"
#include "trainer/run_config.h"

namespace orthant {

struct StoredAdapter {
  std::string path;  // that was given
  LoraConfig lora;   // whose rules give adapters where these are, and modules that are whole
  // What is known of the base: the name that its folder or run had, the fingerprint of its weights.
  std::string base_name, base_fingerprint;
  // Adapters, and the weights that take the place of the base's, by logical name.
  std::map<std::string, Shape> tensors;
  // One of them, whole, on the host.  Error(kData): it is damaged.  Not for several threads.
  std::function<Tensor(const std::string& name)> read;
};

// path: a folder with adapter_config.json, or a run directory that trained adapters or one of its
// checkpoints.  model: the configuration of the model that they are for.  Error(kMissingInput),
// Error(kData), Error(kConfig), beginning with the command or naming file and key or tensor.
StoredAdapter open_adapter(const std::string& command, const std::string& path,
                           const RunConfig& model);
// Those of a run's checkpoint.  Error(kConfig): it has none.
StoredAdapter adapter_of_run(const std::string& command, const Manifest& manifest);

// An adapter by name: "NAME=PATH", where PATH is as of open_adapter and NAME has letters, digits, _
// and -.
struct AdapterPlace {
  std::string name;  // empty: the text is the path alone
  std::string path;
};
// Of what --adapter was given: one path, or several by name.  Error(kUsage): paths without names
// beside others, a name that is given twice.
std::vector<AdapterPlace> adapter_places(const std::string& command,
                                         const std::vector<std::string>& texts);
// The adapter as a model has it that has several by name (layers/lora_config.h: adapter_tensor).
// Error(kConfig): what can only be in the place of something of the base (modules_to_save, DoRA).
StoredAdapter named_adapter(StoredAdapter adapter, const std::string& name);

// The last part of the name that a model's weights came with, "Mixtral-8x7B-v0.1".
std::string base_name_of(const Manifest& base);
// That every tensor of it belongs to a weight of the base and has its widths: Error(kData) naming
// one that does not.
void check_adapter_fits(const StoredAdapter& adapter, const Manifest& base);
// Warns where the adapter was trained over other weights than the base's, or it looks so.
void warn_of_other_base(const StoredAdapter& adapter, const Manifest& base);

// Adapters and whole modules from what is stored, other weights as they are.  The role is built
// with the adapter's rules; every rank reads whole tensors, and keeps its part.
WeightSource stored_weights(StoredAdapter adapter);
// The same for adapters that train on: Error(kConfig) where the role has one that is not stored.
WeightSource begun_adapters(StoredAdapter adapter);
// That rules give the stored adapters their ranks and scales, and save what is whole:
// Error(kConfig) naming a module otherwise.
void check_rules_fit(const StoredAdapter& adapter, const LoraConfig& rules);

}  // namespace orthant
