// SPDX-License-Identifier: Apache-2.0
// A `lora:` block for adapters that are there.
#pragma once

#include <map>
#include <set>
#include <string>

#include "trainer/run_config.h"

namespace orthant {

struct ModuleAdapter {
  int64_t rank = 0;
  double alpha = 0;
  auto operator<=>(const ModuleAdapter&) const = default;
};

// The rank and alpha that most have; the others are exceptions.
template <class Names>
ModuleAdapter most_common(const Names& adapters) {
  std::map<ModuleAdapter, int64_t> counts;
  for (const auto& [name, adapter] : adapters) ++counts[adapter];
  ModuleAdapter best;
  int64_t most = 0;
  for (const auto& [adapter, count] : counts)
    if (count > most) {
      best = adapter;
      most = count;
    }
  return best;
}

// Rules that give each of the modules its adapter, no other of the model's one, and save those of
// `saved`.  all: of the whole model, as weights are called without ".weight".  Error(kData),
// beginning with `label`: experts of one layer differ.
LoraConfig lora_of_modules(const std::map<std::string, ModuleAdapter>& adapters,
                           const std::set<std::string>& saved, const std::set<std::string>& all,
                           bool use_rslora, const std::string& label);

}  // namespace orthant
