// SPDX-License-Identifier: Apache-2.0
#include "layers/quantization_config.h"

#include "base/error.h"
#include "base/problems.h"

namespace orthant {

void QuantizationConfig::fields(FieldVisitor& v) {
  v.field("format", format, quantization_names(),
          "how the weights of linear maps are held, which stay frozen beside adapters: nf4: 4.127 "
          "bits each (QLoRA); int8: 8 bits, with a factor for each row");
  v.list("target_modules", target_modules,
         "modules that are quantised, as in lora.target_modules; nothing = all-linear; never "
         "routers, lm_head and embed_tokens");
  v.list("exclude_modules", exclude_modules,
         "modules that are not, though target_modules names them; those of lora.modules_to_save "
         "never are");
  v.alias("llm_int8_skip_modules", "exclude_modules");
}

void QuantizationConfig::validate() const {
  Problems problems;
  problems.want(is_on() || (target_modules.empty() && exclude_modules.empty()),
                "quantization.format: want nf4 or int8 where quantization names modules, got none");
  problems.collect([&] { module_matchers(exclude_modules, "quantization.exclude_modules"); });
  problems.collect([&] {
    for (const ModuleMatcher& pattern :
         module_matchers(target_modules, "quantization.target_modules"))
      for (const auto& [module, why] :
           {std::pair{"lm_head", "the loss is made of its products in pieces"},
            {"model.embed_tokens", "its rows are looked up, not multiplied"},
            {"model.layers.0.mlp.gate", "a router's choices would change"}})
        ORTHANT_CHECK(pattern.is_all_linear() || !pattern(module), kConfig,
                      "quantization.target_modules: ", pattern.text(), " means ", module,
                      ", which is never quantised: ", why,
                      "; want linear maps of attention and of feed-forward layers alone");
  });
  problems.raise();
}

QuantizationRules::QuantizationRules(const QuantizationConfig& config,
                                     std::shared_ptr<const LoraRules> lora)
    : format_(config.format),
      lora_(std::move(lora)),
      targets_(module_matchers(config.target_modules.empty()
                                   ? std::vector<ModulePattern>{{kAllLinear}}
                                   : config.target_modules,
                               "quantization.target_modules")),
      excluded_(module_matchers(config.exclude_modules, "quantization.exclude_modules")) {}

Quantization QuantizationRules::of(const std::string& module) const {
  const bool is_meant =
      all_linear_(module) && matches_any(targets_, module) && !matches_any(excluded_, module);
  return is_meant && !(lora_ && lora_->saves(module)) ? format_ : Quantization::kNone;
}

}  // namespace orthant
