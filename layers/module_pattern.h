// SPDX-License-Identifier: Apache-2.0
// Which modules a configuration means, by name.
#pragma once

#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "base/config/fields.h"

namespace orthant {

inline constexpr const char* kAllLinear = "all-linear";

// Names modules, as a weight is called without ".weight" ("model.layers.3.self_attn.q_proj"): by
// the last parts of the name ("q_proj", "mlp.gate"), or, where it has other signs than those of
// names, by a regular expression for all of it; "all-linear": every linear map but routers, the
// head and embeddings, which want to be named.
struct ModulePattern {
  std::string modules;
  void fields(FieldVisitor& v);
};

// Whether a module is meant by a pattern.
class ModuleMatcher {
 public:
  // Error(kConfig): no regular expression.
  explicit ModuleMatcher(std::string pattern);
  bool operator()(const std::string& module) const;
  const std::string& text() const { return pattern_; }
  bool is_all_linear() const;

 private:
  std::string pattern_;
  std::optional<std::regex> expression_;
};
// key: begins an error message.
std::vector<ModuleMatcher> module_matchers(const std::vector<ModulePattern>& patterns,
                                           const std::string& key);
bool matches_any(const std::vector<ModuleMatcher>& matchers, const std::string& module);

// "model.layers.3.self_attn.q_proj", of the weight with ".weight" and of an adapter beside it.
std::string module_of(const std::string& tensor);

}  // namespace orthant
