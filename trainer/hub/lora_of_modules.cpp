// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/lora_of_modules.h"

#include "base/error.h"
#include "model/hub/peft_tensors.h"

namespace orthant {
namespace {

// All experts of a layer have one name: "model.layers.3.mlp.experts.*.gate_proj".
std::string with_star(const std::string& module) {
  const std::optional<ExpertModule> expert = expert_module(module);
  return expert ? expert->layer + ".*." + expert->part : module;
}

// As LoraRules reads a name: one with a star is a regular expression for whole names.
std::string pattern_of(const std::string& name) {
  if (name.find('*') == std::string::npos) return name;
  std::string pattern = name.starts_with("model.") ? "" : "(.*\\.)?";
  for (const char c : name) {
    if (c == '*') {
      pattern += "[0-9]+";
    } else {
      if (c == '.') pattern += '\\';
      pattern += c;
    }
  }
  return pattern;
}

using Adapters = std::map<std::string, ModuleAdapter>;

std::set<std::string> keys_of(const Adapters& adapters) {
  std::set<std::string> keys;
  for (const auto& [name, adapter] : adapters) keys.insert(name);
  return keys;
}

std::set<std::string> without(std::set<std::string> all, const std::set<std::string>& some) {
  for (const std::string& name : some) all.erase(name);
  return all;
}

Adapters starred(const Adapters& adapters, const std::set<std::string>& all,
                 const std::string& label) {
  Adapters result;
  for (const auto& [module, adapter] : adapters) {
    const auto [at, is_new] = result.emplace(with_star(module), adapter);
    ORTHANT_CHECK(is_new || at->second == adapter, kData, label, ": ", module,
                  " has another rank or alpha than another expert of its layer");
  }
  for (const std::string& module : all)
    ORTHANT_CHECK(adapters.contains(module) || !result.contains(with_star(module)), kData, label,
                  ": ", module, " has no adapter, and another expert of its layer has one");
  return result;
}

}  // namespace

LoraConfig lora_of_modules(const Adapters& adapters, const std::set<std::string>& saved,
                           const std::set<std::string>& all, bool use_rslora,
                           const std::string& label) {
  std::set<std::string> known;
  for (const std::string& module : all) known.insert(with_star(module));
  const Adapters modules = starred(adapters, all, label);
  const ModuleAdapter common = most_common(modules);
  LoraConfig lora{.rank = common.rank, .alpha = common.alpha, .use_rslora = use_rslora};
  for (const std::string& name : shortest_names(keys_of(modules), without(known, keys_of(modules))))
    lora.target_modules.push_back({pattern_of(name)});
  for (const std::string& name : shortest_names(saved, without(known, saved)))
    lora.modules_to_save.push_back({name});
  std::map<ModuleAdapter, std::set<std::string>> exceptions;
  for (const auto& [name, adapter] : modules)
    if (adapter != common) exceptions[adapter].insert(name);
  for (const auto& [adapter, names] : exceptions)
    for (const std::string& name : shortest_names(names, without(keys_of(modules), names)))
      lora.patterns.push_back({pattern_of(name), adapter.rank, adapter.alpha});
  return lora;
}

}  // namespace orthant
