// SPDX-License-Identifier: Apache-2.0
#include "layers/lora_config.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/problems.h"

namespace orthant {
namespace {

const EnumNames<LoraInit>& init_names() {
  static const EnumNames<LoraInit> names = {{LoraInit::kKaiming, "kaiming"},
                                            {LoraInit::kGaussian, "gaussian"}};
  return names;
}

// N of "model.layers.N.", -1 where there is none.
int64_t layer_of(const std::string& module) {
  const std::string mark = "layers.";
  const size_t at = module.find(mark);
  if (at == std::string::npos) return -1;
  int64_t layer = -1;
  for (size_t i = at + mark.size(); i < module.size() && module[i] >= '0' && module[i] <= '9'; ++i)
    layer = std::max<int64_t>(layer, 0) * 10 + (module[i] - '0');
  return layer;
}

}  // namespace

void LoraException::fields(FieldVisitor& v) {
  v.field("modules", modules, required_text(), "which modules, as in target_modules");
  v.field("rank", rank, at_least(0), "their rank; 0 = lora.rank");
  v.field("alpha", alpha, non_negative(), "their alpha; 0 = lora.alpha");
}

void LoraConfig::fields(FieldVisitor& v) {
  v.field("rank", rank, between(0, 65536),
          "rank of the adapters; 0 = none: the model itself trains");
  v.field("alpha", alpha, non_negative(),
          "what adapters give is multiplied by alpha / rank; 0 = twice the rank");
  v.field("dropout", dropout, below_one(), "dropout on what adapters see, in training");
  v.list("target_modules", target_modules, "modules that get an adapter; nothing = all-linear");
  v.list("exclude_modules", exclude_modules,
         "modules that get none, though target_modules names them");
  v.list("modules_to_save", modules_to_save,
         "modules that train whole beside the adapters: lm_head, embed_tokens, norms");
  v.field("layers_to_transform", layers_to_transform, at_least(0),
          "adapters in these layers alone; nothing = all");
  v.list("patterns", patterns,
         "another rank or alpha for some modules; the first that matches holds");
  v.field("use_rslora", use_rslora, "multiply by alpha / sqrt(rank) instead");
  v.field("use_dora", use_dora,
          "magnitudes of the rows of weights train by themselves beside directions (DoRA); not "
          "beside embeddings and the head");
  v.field(
      "plus_ratio", plus_ratio, positive(),
      "learning rate of the B matrices over that of the A matrices (LoRA+); embeddings, where A "
      "begins with 0, keep that of A");
  v.field("init", init, init_names(),
          "first values of the A matrices: kaiming: uniform, up to 1 / sqrt(inputs); gaussian: "
          "normal, with deviation 1 / rank");
  v.may_change_on_resume([&] {
    v.field("from", from, any_path(),
            "begin with these adapters and go on: a folder as PEFT saves one, or a run directory "
            "that trained some; the block's other keys follow from them, or must agree; empty: "
            "new ones");
  });
  v.alias("r", "rank");
  v.alias("lora_rank", "rank");
  v.alias("lora_r", "rank");
  v.alias("lora_alpha", "alpha");
  v.alias("lora_dropout", "dropout");
  v.alias("lora_target", "target_modules");
  v.alias("lora_target_modules", "target_modules");
  v.alias("additional_target", "modules_to_save");
  v.alias("lora_modules_to_save", "modules_to_save");
  v.alias("rslora", "use_rslora");
  v.alias("dora", "use_dora");
  v.alias("loraplus_lr_ratio", "plus_ratio");
  const ForeignRule maps = neutral({"{}"}, "use lora.patterns: [{modules: q_proj, rank: 16}]");
  v.foreign("rank_pattern", maps);
  v.foreign("alpha_pattern", maps);
  v.foreign("bias", neutral({"none"}, "lora.modules_to_save names what trains whole"));
}

void LoraConfig::validate() const {
  Problems problems;
  problems.want(is_on() || (target_modules.empty() && exclude_modules.empty() && patterns.empty() &&
                            modules_to_save.empty()),
                "lora.rank: want the adapters' rank where lora names modules, got 0");
  problems.collect([&] { const LoraRules rules(*this); });
  problems.raise();
}

LoraRules::LoraRules(const LoraConfig& config) : config_(config) {
  if (config_.alpha == 0) config_.alpha = 2.0 * static_cast<double>(config_.rank);
  if (config_.target_modules.empty()) config_.target_modules = {{kAllLinear}};
  targets_ = module_matchers(config_.target_modules, "lora.target_modules");
  excluded_ = module_matchers(config_.exclude_modules, "lora.exclude_modules");
  saved_ = module_matchers(config_.modules_to_save, "lora.modules_to_save");
  std::vector<ModulePattern> patterns;
  for (const LoraException& of : config_.patterns) patterns.push_back({of.modules});
  exceptions_ = module_matchers(patterns, "lora.patterns");
}

std::optional<LoraRule> LoraRules::of(const std::string& module) const {
  const auto matches = [&](const ModuleMatcher& matcher) { return matcher(module); };
  if (!matches_any(targets_, module) || saves(module) || matches_any(excluded_, module))
    return std::nullopt;
  const std::vector<int64_t>& layers = config_.layers_to_transform;
  if (!layers.empty() && std::find(layers.begin(), layers.end(), layer_of(module)) == layers.end())
    return std::nullopt;
  LoraRule rule{.rank = config_.rank, .init = config_.init};
  double alpha = config_.alpha;
  const auto other = std::find_if(exceptions_.begin(), exceptions_.end(), matches);
  if (other != exceptions_.end()) {
    const LoraException& with = config_.patterns[static_cast<size_t>(other - exceptions_.begin())];
    if (with.rank > 0) rule.rank = with.rank;
    if (with.alpha > 0) alpha = with.alpha;
  }
  const auto rank = static_cast<double>(rule.rank);
  rule.scale = alpha / (config_.use_rslora ? std::sqrt(rank) : rank);
  return rule;
}

bool LoraRules::saves(const std::string& module) const { return matches_any(saved_, module); }

std::vector<std::string> LoraRules::unmatched(const std::vector<std::string>& modules,
                                              const std::vector<std::string>& matrices) const {
  std::vector<std::string> lines;
  const auto look = [&](const std::vector<ModuleMatcher>& matchers, const char* key,
                        const std::vector<std::string>& among) {
    for (const ModuleMatcher& matcher : matchers)
      if (std::none_of(among.begin(), among.end(), matcher))
        lines.push_back(concat("lora.", key, ": ", matcher.text()));
  };
  look(targets_, "target_modules", matrices);
  look(excluded_, "exclude_modules", modules);
  look(saved_, "modules_to_save", modules);
  look(exceptions_, "patterns", matrices);
  return lines;
}

NamedAdapters only_adapter(std::shared_ptr<const LoraRules> rules) {
  if (!rules) return {};
  return {{.name = "", .rules = std::move(rules)}};
}

std::string adapter_tensor(const std::string& module, const std::string& kind,
                           const std::string& name) {
  std::string text = module + "." + kind;
  if (!name.empty())
    text.insert(std::min(text.find('.', module.size() + 1), text.size()), "." + name);
  return text;
}

bool is_adapter_tensor(const std::string& name) { return name.find(".lora_") != std::string::npos; }

}  // namespace orthant
