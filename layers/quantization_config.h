// SPDX-License-Identifier: Apache-2.0
// The `quantization:` block of a run: which frozen weights are held in few bits, and how.
#pragma once

#include <memory>

#include "layers/lora_config.h"
#include "tensor/ops/quantize.h"

namespace orthant {

struct QuantizationConfig {
  Quantization format = Quantization::kNone;
  std::vector<ModulePattern> target_modules, exclude_modules;

  bool is_on() const { return format != Quantization::kNone; }
  void fields(FieldVisitor& v);
  // Error(kConfig): patterns that are none, or mean what stays as it is.
  void validate() const;
};

// Which modules are quantised, by name.
class QuantizationRules {
 public:
  // lora: the modules that train whole beside its adapters stay as they are; may be null.
  QuantizationRules(const QuantizationConfig& config, std::shared_ptr<const LoraRules> lora);
  Quantization of(const std::string& module) const;

 private:
  Quantization format_;
  ModuleMatcher all_linear_{kAllLinear};
  std::shared_ptr<const LoraRules> lora_;
  std::vector<ModuleMatcher> targets_, excluded_;
};

}  // namespace orthant
