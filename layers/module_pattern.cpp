// SPDX-License-Identifier: Apache-2.0
#include "layers/module_pattern.h"

#include <algorithm>

#include "base/error.h"

namespace orthant {
namespace {

bool is_name(const std::string& pattern) {
  return pattern.find_first_of("^$*+?()[]{}|\\") == std::string::npos;
}

// What has another shape of product than a layer's, or routes: meant where it is named.
bool wants_a_name(const std::string& module) {
  return module.ends_with("mlp.gate") || module == "lm_head" || module.ends_with("embed_tokens");
}

}  // namespace

void ModulePattern::fields(FieldVisitor& v) {
  v.field("modules", modules, required_text(),
          "the last parts of modules' names (q_proj, mlp.gate), a regular expression for whole "
          "names (model.layers.[0-3].*), or all-linear: every linear map but routers, lm_head and "
          "embed_tokens");
}

ModuleMatcher::ModuleMatcher(std::string pattern) : pattern_(std::move(pattern)) {
  if (is_name(pattern_)) return;
  try {
    expression_.emplace(pattern_, std::regex::ECMAScript | std::regex::optimize);
  } catch (const std::regex_error& error) {
    throw_error(ErrorKind::kConfig,
                concat("'", pattern_, "' is no regular expression (", error.what(), ")"));
  }
}

bool ModuleMatcher::is_all_linear() const { return pattern_ == kAllLinear; }

bool ModuleMatcher::operator()(const std::string& module) const {
  if (is_all_linear()) return !wants_a_name(module);
  if (expression_) return std::regex_match(module, *expression_);
  return module == pattern_ || module.ends_with("." + pattern_);
}

std::vector<ModuleMatcher> module_matchers(const std::vector<ModulePattern>& patterns,
                                           const std::string& key) {
  std::vector<ModuleMatcher> made;
  for (const ModulePattern& pattern : patterns) {
    try {
      made.emplace_back(pattern.modules);
    } catch (const Error& error) {
      throw_error(error.kind(), concat(key, ": ", error.what()));
    }
  }
  return made;
}

bool matches_any(const std::vector<ModuleMatcher>& matchers, const std::string& module) {
  return std::any_of(matchers.begin(), matchers.end(),
                     [&](const ModuleMatcher& matcher) { return matcher(module); });
}

std::string module_of(const std::string& tensor) {
  if (const size_t at = tensor.find(".lora_"); at != std::string::npos) return tensor.substr(0, at);
  const std::string suffix = ".weight";
  return tensor.ends_with(suffix) ? tensor.substr(0, tensor.size() - suffix.size()) : tensor;
}

}  // namespace orthant
