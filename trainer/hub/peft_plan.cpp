// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/peft_plan.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "trainer/hub/hub_model.h"
#include "trainer/hub/lora_of_modules.h"

namespace orthant {
namespace {

constexpr const char* kEmbedding = "model.embed_tokens";
constexpr const char* kMergeFirst = "; orthant merge, then orthant export, gives a whole model";

// Alphas are round numbers, which scale and rank only nearly give again.
double alpha_of(double scale, int64_t rank, bool use_rslora) {
  const auto r = static_cast<double>(rank);
  const double alpha = scale * (use_rslora ? std::sqrt(r) : r);
  const double round = std::round(alpha);
  return std::abs(alpha - round) < 1e-12 * alpha ? round : alpha;
}

std::string regex_of(const std::string& name) {
  std::string text;
  for (const char c : name) text += c == '.' ? std::string("\\.") : std::string(1, c);
  return text;
}

// Collects the folder's tensors, and what its configuration says of modules and parameters.
class Plan {
 public:
  Plan(const StoredAdapter& adapter, const RunConfig& config)
      : adapter_(adapter), rules_(adapter.lora), model_(config.model) {
    for (const auto& [name, shape] : logical_tensors(config)) weights_[name] = shape;
    check_kind();
    for (const auto& [name, shape] : adapter.tensors) add(name);
    for (const auto& [layer, parts] : experts_) add_experts(layer, parts);
    check_all_planned();
    folder_.config.base_name = adapter.base_name;
    folder_.config.use_rslora = adapter.lora.use_rslora;
    folder_.config.dropout = adapter.lora.dropout;
    folder_.config.use_dora = adapter.lora.use_dora;
    name_targets();
    name_ranks();
  }
  PeftFolder take() { return std::move(folder_); }

 private:
  void check_kind() const {
    ORTHANT_CHECK(!model_.tie_word_embeddings || !touches_ends(), kConfig,
                  "model.tie_word_embeddings: PEFT merges an adapter of embed_tokens or lm_head "
                  "into both, and active adapters see one of them",
                  kMergeFirst);
  }

  bool touches_ends() const {
    return std::any_of(adapter_.tensors.begin(), adapter_.tensors.end(), [](const auto& tensor) {
      const std::string module = module_of(tensor.first);
      return module == kEmbedding || module == "lm_head";
    });
  }

  Shape weight_of(const std::string& module) const {
    const auto found = weights_.find(module + ".weight");
    return found == weights_.end() ? weights_.at(concat(kEmbedding, ".weight")) : found->second;
  }

  void add(const std::string& name) {
    const std::string module = module_of(name);
    ORTHANT_CHECK(!is_beyond_layers(model_, name) &&
                      !name.starts_with(concat("model.layers.", model_.num_hidden_layers, ".")),
                  kConfig, name, ": PEFT's models have no layer for multi-token prediction");
    if (!is_adapter_tensor(name)) return add_whole(module);
    const std::optional<LoraRule> rule = rules_.of(module);
    ORTHANT_CHECK(rule, kInternal, name, ": the run's rules give it no adapter");
    if (name.find("lora_A.weight") == std::string::npos && !name.ends_with("lora_embedding_A"))
      return;  // with its other half
    if (const std::optional<ExpertModule> expert = expert_module(module)) {
      experts_[expert->layer].insert(expert->part);
      return;
    }
    const Shape shape = weight_of(module);
    const bool is_end = module == kEmbedding || module == "lm_head";
    const bool is_parameter = module.find(".mlp.") != std::string::npos && model_.is_moe();
    ORTHANT_CHECK(!is_parameter || adapter_.lora.dropout == 0, kConfig, "lora.dropout: ", module,
                  ": PEFT has none in the feed-forward part of a model with experts", kMergeFirst);
    ORTHANT_CHECK(!adapter_.lora.use_dora || !(is_parameter || is_end), kConfig,
                  "lora.use_dora: ", module,
                  is_end ? ": PEFT has it beside embeddings and the head too"
                         : ": PEFT has none in the feed-forward part of a model with experts",
                  kMergeFirst);
    if (adapter_.lora.use_dora)
      append(
          {peft_magnitude(model_, module, kPeftPrefix + module + ".lora_magnitude_vector", shape)});
    append(module == kEmbedding ? peft_embedding_pair(module, shape, rule->rank)
                                : peft_pair(model_, module, module, shape, rule->rank));
    scales_[is_parameter ? module + ".weight" : module] = {
        rule->rank, alpha_of(rule->scale, rule->rank, adapter_.lora.use_rslora)};
    // PEFT takes target_modules of these names for experts.
    (is_parameter ? parameters_ : targets_).insert(is_parameter ? module + ".weight" : module);
  }

  // All tensors of a module that trained whole, also those that did not train.
  void add_whole(const std::string& module) {
    ORTHANT_CHECK(!expert_module(module), kConfig, "lora.modules_to_save: ", module,
                  ": PEFT saves no expert apart from its layer's", kMergeFirst);
    const std::string name =
        module.ends_with(".bias") ? module.substr(0, module.size() - 5) : module;
    if (std::find(saved_.begin(), saved_.end(), name) != saved_.end()) return;
    saved_.push_back(name);
    for (const auto& [weight, shape] : weights_) {
      if (!weight.starts_with(name + ".")) continue;
      ORTHANT_CHECK(adapter_.tensors.contains(weight), kConfig, "lora.modules_to_save: ", name,
                    ": PEFT wants ", weight, " with it, which did not train", kMergeFirst);
      PeftTensor tensor = whole_peft_tensor(weight, shape, kPeftPrefix + weight);
      tensor.rotary = hub_tensor(model_, weight, shape).rotary;
      append({tensor});
    }
  }

  void add_experts(const std::string& layer, const std::set<std::string>& parts) {
    const bool has_down = parts.contains("down_proj");
    const Shape gate = weights_.at(layer + ".0.gate_proj.weight");
    PeftExperts pair{.layer = layer,
                     .module = layer,
                     .experts = model_.n_routed_experts,
                     .width = gate[1],
                     .inner = gate[0]};
    const auto rule_of = [&](const char* part) {
      const LoraRule rule = *rules_.of(concat(layer, ".0.", part));
      ORTHANT_CHECK(!adapter_.lora.use_dora, kConfig, "lora.use_dora: ", layer,
                    ": PEFT has none on experts", kMergeFirst);
      ORTHANT_CHECK(adapter_.lora.dropout == 0, kConfig, "lora.dropout: ", layer,
                    ": PEFT has none on experts", kMergeFirst);
      pair.part = part;
      pair.part_rank = rule.rank;
      return rule;
    };
    if (has_down) {
      const LoraRule rule = rule_of("down_proj");
      pair.rank = rule.rank;
      append(peft_expert_pairs(pair));
      add_parameter(layer + ".down_proj", rule.rank, rule.scale);
      pair.module = layer + ".base_layer";
    }
    if (!parts.contains("gate_proj") && !parts.contains("up_proj")) return;
    ORTHANT_CHECK(parts.contains("gate_proj") && parts.contains("up_proj"), kConfig,
                  "lora.target_modules: ", layer,
                  ": PEFT adapts gate_proj and up_proj of experts together or not at all",
                  kMergeFirst);
    const LoraRule up = rule_of("up_proj"), gate_rule = rule_of("gate_proj");
    ORTHANT_CHECK(
        up.rank == gate_rule.rank && up.scale == gate_rule.scale, kConfig, "lora.patterns: ", layer,
        ": PEFT has one rank and alpha for gate_proj and up_proj of experts", kMergeFirst);
    pair.rank = 2 * up.rank;
    append(peft_expert_pairs(pair));
    pair.part = "up_proj";
    pair.first = up.rank;
    append(peft_expert_pairs(pair));
    add_parameter(layer + ".gate_up_proj", pair.rank, up.scale);
  }

  void check_all_planned() const {
    std::set<std::string> planned;
    for (const PeftTensor& tensor : folder_.tensors) planned.insert(tensor.name);
    for (const auto& [name, shape] : adapter_.tensors)
      ORTHANT_CHECK(planned.contains(name), kConfig, name, ": is nothing that a PEFT folder has",
                    kMergeFirst);
  }

  void add_parameter(const std::string& name, int64_t rank, double scale) {
    parameters_.insert(name);
    scales_[name] = {rank, alpha_of(scale, rank, adapter_.lora.use_rslora)};
  }

  void append(std::vector<PeftTensor> tensors) {
    for (PeftTensor& tensor : tensors) {
      const auto found = adapter_.tensors.find(tensor.name);
      ORTHANT_CHECK(found != adapter_.tensors.end() && found->second == tensor.shape, kData,
                    adapter_.path, ": tensor ", tensor.name, ": want ", tensor.shape.text(),
                    ", got ",
                    found == adapter_.tensors.end() ? std::string("none") : found->second.text());
      folder_.tensors.push_back(std::move(tensor));
    }
  }

  // By names that no other module or parameter of transformers' model has.
  void name_targets() {
    std::set<std::string> modules, parameters;
    for (const auto& [weight, shape] : weights_) {
      const std::optional<ExpertModule> expert = expert_module(module_of(weight));
      const std::string fused =
          expert
              ? concat(expert->layer, expert->part == "down_proj" ? ".down_proj" : ".gate_up_proj")
              : weight;
      if (!expert) modules.insert(module_of(weight));
      parameters.insert(fused);
    }
    modules.insert("lm_head");
    for (const std::string& name : targets_) modules.erase(name);
    for (const std::string& name : parameters_) parameters.erase(name);
    folder_.config.target_modules = shortest_names(targets_, modules);
    folder_.config.target_parameters = shortest_names(parameters_, parameters);
    folder_.config.modules_to_save = saved_;
  }

  void name_ranks() {
    const ModuleAdapter common = most_common(scales_);
    folder_.config.rank = std::max<int64_t>(common.rank, 1);
    folder_.config.alpha = common.alpha;
    std::map<ModuleAdapter, std::set<std::string>> exceptions;
    for (const auto& [name, scale] : scales_)
      if (scale != common) exceptions[scale].insert(name);
    for (const auto& [scale, names] : exceptions) {
      std::set<std::string> others;
      for (const auto& [name, other] : scales_)
        if (other != scale) others.insert(name);
      for (const std::string& name : shortest_names(names, others)) {
        if (scale.rank != common.rank)
          folder_.config.ranks.emplace_back(regex_of(name), scale.rank);
        if (scale.alpha != common.alpha)
          folder_.config.alphas.emplace_back(regex_of(name), scale.alpha);
      }
    }
  }

  const StoredAdapter& adapter_;
  LoraRules rules_;
  const ModelConfig& model_;
  std::map<std::string, Shape> weights_;
  std::map<std::string, std::set<std::string>> experts_;  // by layer: the parts that are adapted
  std::set<std::string> targets_, parameters_;
  std::vector<std::string> saved_;
  std::map<std::string, ModuleAdapter> scales_;  // of PEFT's modules and parameters
  PeftFolder folder_;
};

}  // namespace

PeftFolder plan_peft_folder(const StoredAdapter& adapter, const RunConfig& model) {
  return Plan(adapter, model).take();
}

}  // namespace orthant
