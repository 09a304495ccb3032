// SPDX-License-Identifier: Apache-2.0
// The `lora:` block of a run: which products get adapters of low rank, and of what kind.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "layers/module_pattern.h"

namespace orthant {

// Another rank or alpha for some modules.
struct LoraException {
  std::string modules;
  int64_t rank = 0;  // 0: lora.rank
  double alpha = 0;  // 0: lora.alpha
  void fields(FieldVisitor& v);
};

enum class LoraInit { kKaiming, kGaussian };

struct LoraConfig {
  int64_t rank = 0;  // 0: no adapters
  double alpha = 0;  // 0: twice the rank
  double dropout = 0;
  std::vector<ModulePattern> target_modules, exclude_modules, modules_to_save;
  std::vector<int64_t> layers_to_transform;
  std::vector<LoraException> patterns;
  bool use_rslora = false, use_dora = false;
  double plus_ratio = 1.0;
  LoraInit init = LoraInit::kKaiming;
  std::string from;  // adapters to begin with (trainer/run_beginning.h)

  bool is_on() const { return rank > 0; }
  void fields(FieldVisitor& v);
  // Error(kConfig): patterns that are none, keys without a rank.
  void validate() const;
};

// The adapter of one module.
struct LoraRule {
  int64_t rank = 0;
  double scale = 1.0;  // alpha / rank, or alpha / sqrt(rank)
  LoraInit init = LoraInit::kKaiming;
};

// Which modules get which adapter, by name.
class LoraRules {
 public:
  explicit LoraRules(const LoraConfig& config);
  LoraRules(const LoraRules&) = delete;
  LoraRules& operator=(const LoraRules&) = delete;

  // None: the module has no adapter.
  std::optional<LoraRule> of(const std::string& module) const;
  // Whether the module trains whole.
  bool saves(const std::string& module) const;
  const LoraConfig& config() const { return config_; }

  // The patterns that match none of these modules, "lora.target_modules: q_projj" each; those of
  // target_modules want one that may have an adapter.
  std::vector<std::string> unmatched(const std::vector<std::string>& modules,
                                     const std::vector<std::string>& matrices) const;

 private:
  LoraConfig config_;
  std::vector<ModuleMatcher> targets_, excluded_, saved_, exceptions_;
};

// Adapters that stand beside one model, by name.  The one of a model that has no other needs no
// name, and only that one trains.
struct NamedAdapter {
  std::string name;
  std::shared_ptr<const LoraRules> rules;
};
using NamedAdapters = std::vector<NamedAdapter>;
// rules: may be null, then there is none.
NamedAdapters only_adapter(std::shared_ptr<const LoraRules> rules);
// The logical tensor `kind` ("lora_A.weight", "lora_embedding_B") of a module's adapter; with a
// name it is called as in PEFT's models: "MODULE.lora_A.NAME.weight",
// "MODULE.lora_embedding_B.NAME".
std::string adapter_tensor(const std::string& module, const std::string& kind,
                           const std::string& name);

// Whether a logical tensor belongs to an adapter, by its name.
bool is_adapter_tensor(const std::string& name);

}  // namespace orthant
