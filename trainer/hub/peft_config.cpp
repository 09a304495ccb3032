// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/peft_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <set>

#include "base/error.h"
#include "checkpoint/json_strict.h"

namespace orthant {
namespace {

using Json = nlohmann::json;

// Keys that say where an adapter came from, or how it was drawn, or what the tensors say as well.
const std::set<std::string> kSaysNothing = {
    "auto_mapping",    "base_model_name_or_path", "revision",
    "task_type",       "inference_mode",          "peft_version",
    "layers_pattern",  "layers_to_transform",     "target_modules",
    "exclude_modules", "target_parameters",       "modules_to_save",
    "megatron_core",   "qalora_group_size",       "runtime_config",
    "loftq_config"};
const std::set<std::string> kRead = {"peft_type",    "r",
                                     "lora_alpha",   "lora_dropout",
                                     "use_rslora",   "use_dora",
                                     "rank_pattern", "alpha_pattern",
                                     "bias",         "init_lora_weights"};

// False, nothing, or empty: a key with this changes no computation, known or not.
bool is_neutral(const Json& value) {
  return value.is_null() || value == false || (value.is_structured() && value.empty()) ||
         value == "";
}

class Reader {
 public:
  Reader(const std::string& text, std::string label)
      : json_(parse_json(text, label)), label_(std::move(label)) {
    ordered_ = nlohmann::ordered_json::parse(text);
    ORTHANT_CHECK(json_.is_object(), kData, label_, ": want a JSON object, got ",
                  json_excerpt(json_));
  }

  PeftConfig read() const {
    check_kind();
    PeftConfig config;
    if (const Json* name = find("base_model_name_or_path"))
      config.base_name = json_string(*name, at("base_model_name_or_path"));
    if (const Json* rank = find("r")) config.rank = rank_of(*rank, at("r"));
    if (const Json* alpha = find("lora_alpha")) config.alpha = alpha_of(*alpha, at("lora_alpha"));
    if (const Json* dropout = find("lora_dropout")) {
      ORTHANT_CHECK(dropout->is_number() && *dropout >= 0 && *dropout < 1, kData,
                    at("lora_dropout"), ": want a number in [0, 1), got ", json_excerpt(*dropout));
      config.dropout = dropout->get<double>();
    }
    config.use_rslora = flag("use_rslora");
    config.use_dora = flag("use_dora");
    each_pattern("rank_pattern", [&](const std::string& key, const Json& value) {
      config.ranks.emplace_back(key, rank_of(value, at("rank_pattern") + ": " + key));
    });
    each_pattern("alpha_pattern", [&](const std::string& key, const Json& value) {
      config.alphas.emplace_back(key, alpha_of(value, at("alpha_pattern") + ": " + key));
    });
    config.target_parameters = names("target_parameters");
    config.modules_to_save = names("modules_to_save");
    return config;
  }

 private:
  std::string at(const std::string& key) const { return label_ + ": " + key; }

  // Null where it is not there, or null.
  const Json* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  void check_kind() const {
    const Json* type = find("peft_type");
    ORTHANT_CHECK(type && *type == "LORA", kData, at("peft_type"), ": want LORA, got ",
                  type ? json_excerpt(*type) : std::string("none"));
    if (const Json* bias = find("bias"))
      ORTHANT_CHECK(*bias == "none", kData, at("bias"), ": want none: biases are not trained, got ",
                    json_excerpt(*bias));
    // Others take a part out of the base's weights, which the folder does not have.
    if (const Json* init = find("init_lora_weights"))
      ORTHANT_CHECK(init->is_boolean() || *init == "gaussian" || *init == "orthogonal", kData,
                    at("init_lora_weights"), ": want true, false, gaussian or orthogonal, got ",
                    json_excerpt(*init));
    for (const auto& [key, value] : json_.items())
      ORTHANT_CHECK(kRead.contains(key) || kSaysNothing.contains(key) || is_neutral(value), kData,
                    at(key), ": is not built, got ", json_excerpt(value));
  }

  template <class Use>
  void each_pattern(const char* key, const Use& use) const {
    const Json* patterns = find(key);
    if (!patterns) return;
    ORTHANT_CHECK(patterns->is_object(), kData, at(key), ": want an object, got ",
                  json_excerpt(*patterns));
    for (const auto& entry : ordered_[key].items()) use(entry.key(), (*patterns)[entry.key()]);
  }

  static int64_t rank_of(const Json& value, const std::string& what) {
    const int64_t rank = json_count(value, what);
    ORTHANT_CHECK(rank > 0, kData, what, ": want a rank of 1 or more, got 0");
    return rank;
  }

  static double alpha_of(const Json& value, const std::string& what) {
    ORTHANT_CHECK(value.is_number() && value > 0, kData, what, ": want a number above 0, got ",
                  json_excerpt(value));
    return value.get<double>();
  }

  bool flag(const char* key) const {
    const Json* value = find(key);
    ORTHANT_CHECK(!value || value->is_boolean(), kData, at(key), ": want true or false, got ",
                  json_excerpt(*value));
    return value && value->get<bool>();
  }

  std::vector<std::string> names(const char* key) const {
    std::vector<std::string> result;
    const Json* list = find(key);
    if (!list) return result;
    ORTHANT_CHECK(list->is_array(), kData, at(key), ": want a list, got ", json_excerpt(*list));
    for (const Json& name : *list) result.push_back(json_string(name, at(key)));
    return result;
  }

  Json json_;
  nlohmann::ordered_json ordered_;  // of several patterns that match the first one holds
  std::string label_;
};

}  // namespace

struct PeftRules::Patterns {
  std::vector<std::pair<std::regex, int64_t>> ranks;
  std::vector<std::pair<std::regex, double>> alphas;
};

PeftRules::PeftRules(const std::string& text, const std::string& label)
    : config_(Reader(text, label).read()), patterns_(std::make_unique<Patterns>()) {
  const auto compile = [&](const auto& from, auto& to, const char* key) {
    for (const auto& [pattern, value] : from) {
      try {
        to.emplace_back(std::regex("(.*\\.)?(" + pattern + ")", std::regex::ECMAScript), value);
      } catch (const std::regex_error& error) {
        throw_error(ErrorKind::kData, concat(label, ": ", key, ": '", pattern,
                                             "' is no regular expression (", error.what(), ")"));
      }
    }
  };
  compile(config_.ranks, patterns_->ranks, "rank_pattern");
  compile(config_.alphas, patterns_->alphas, "alpha_pattern");
}

PeftRules::~PeftRules() = default;

PeftScale PeftRules::of_weight(const std::string& module) const {
  const std::string parameter = module + ".weight";
  const auto names_it = [&](const std::string& target) {
    return parameter == target || parameter.ends_with("." + target);
  };
  const std::vector<std::string>& targets = config_.target_parameters;
  return of(std::any_of(targets.begin(), targets.end(), names_it) ? parameter : module);
}

PeftScale PeftRules::of(const std::string& name) const {
  const auto first = [&](const auto& patterns, auto otherwise) {
    for (const auto& [pattern, value] : patterns)
      if (std::regex_match(name, pattern)) return value;
    return otherwise;
  };
  const int64_t rank = first(patterns_->ranks, config_.rank);
  const double alpha = first(patterns_->alphas, config_.alpha), r = static_cast<double>(rank);
  return {rank, alpha / (config_.use_rslora ? std::sqrt(r) : r)};
}

namespace {

// A whole one without a point, as PEFT's own are.
nlohmann::ordered_json number(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e9) return static_cast<int64_t>(value);
  return value;
}

}  // namespace

std::string peft_config_text(const PeftConfig& config) {
  nlohmann::ordered_json json = {{"peft_type", "LORA"},
                                 {"task_type", "CAUSAL_LM"},
                                 {"base_model_name_or_path", config.base_name},
                                 {"inference_mode", true},
                                 {"bias", "none"},
                                 {"r", config.rank},
                                 {"lora_alpha", number(config.alpha)},
                                 {"lora_dropout", config.dropout},
                                 {"use_rslora", config.use_rslora},
                                 {"use_dora", config.use_dora},
                                 {"target_modules", config.target_modules}};
  json["rank_pattern"] = nlohmann::ordered_json::object();
  for (const auto& [pattern, rank] : config.ranks) json["rank_pattern"][pattern] = rank;
  json["alpha_pattern"] = nlohmann::ordered_json::object();
  for (const auto& [pattern, alpha] : config.alphas) json["alpha_pattern"][pattern] = number(alpha);
  if (!config.target_parameters.empty()) json["target_parameters"] = config.target_parameters;
  if (!config.modules_to_save.empty()) json["modules_to_save"] = config.modules_to_save;
  return json.dump(2) + "\n";
}

std::string base_note_text(const BaseNote& note) {
  const nlohmann::ordered_json json = {{"base", note.name}, {"base_fingerprint", note.fingerprint}};
  return json.dump(2) + "\n";
}

BaseNote parse_base_note(const std::string& text, const std::string& label) {
  const Json json = parse_json(text, label);
  return {json_string(json_member(json, "base", label), label + ": base"),
          json_string(json_member(json, "base_fingerprint", label), label + ": base_fingerprint")};
}

}  // namespace orthant
