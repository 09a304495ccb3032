// SPDX-License-Identifier: Apache-2.0
#include <unordered_map>

#include "base/config/config.h"
#include "base/config/scalar_text.h"
#include "base/config/schema.h"
#include "base/text.h"

namespace orthant {
namespace {

using Flat = std::vector<std::pair<std::string, std::string>>;

void flatten(const YamlNode& node, const std::string& path, Flat& result) {
  const bool scalars =
      node.kind == YamlNode::Kind::kList && !node.items.empty() && !node.items.front().is_map();
  if (node.is_map() && !node.map.empty()) {
    for (const auto& entry : node.map) flatten(entry.value, join_path(path, entry.key), result);
  } else if (scalars) {
    std::string text = "[";
    for (size_t i = 0; i < node.items.size(); ++i) {
      text += concat(i == 0 ? "" : ", ", node.items[i].scalar);
    }
    result.emplace_back(path, text + "]");
  } else if (node.kind == YamlNode::Kind::kList && !node.items.empty()) {
    for (size_t i = 0; i < node.items.size(); ++i) {
      flatten(node.items[i], concat(path, "[", i, "]"), result);
    }
  } else if (node.kind == YamlNode::Kind::kScalar) {
    result.emplace_back(path, node.quoted ? yaml_scalar(node.scalar) : node.scalar);
  } else {
    result.emplace_back(path, node.is_map()                        ? "{}"
                              : node.kind == YamlNode::Kind::kList ? "[]"
                                                                   : "null");
  }
}

Flat flat(const std::string& yaml, const std::string& name) {
  Flat result;
  flatten(parse_yaml(yaml, name), "", result);
  return result;
}

}  // namespace

std::vector<ConfigDifference> differences(const std::string& old_yaml, const std::string& new_yaml,
                                          const FieldList& defaults) {
  const Schema schema = collect_schema(defaults);
  const Flat before = flat(old_yaml, "stored configuration");
  const Flat after = flat(new_yaml, "configuration");
  const Flat preset = flat(dump_config(defaults), "defaults");
  const std::unordered_map<std::string, std::string> old_values(before.begin(), before.end()),
      new_values(after.begin(), after.end()), default_values(preset.begin(), preset.end());
  std::vector<ConfigDifference> result;
  const auto add = [&](const std::string& path, const std::string& was, const std::string& is) {
    if (was == is) return;
    result.push_back({concat(path, ": ", was, " -> ", is), may_change(schema, path)});
  };
  for (const auto& [path, value] : before) {
    const auto found = new_values.find(path);
    add(path, value, found == new_values.end() ? "(absent)" : found->second);
  }
  for (const auto& [path, value] : after) {
    if (old_values.count(path)) continue;
    const auto found = default_values.find(path);
    if (found == default_values.end() || found->second != value) add(path, "(absent)", value);
  }
  return result;
}

}  // namespace orthant
