// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>

#include "base/config/yaml_loader.h"
#include "base/config/yaml_text.h"
#include "base/text.h"

namespace orthant {
namespace {

std::vector<std::string> split_path(const std::string& path, const YamlPlace& place) {
  std::vector<std::string> parts(1);
  for (const char c : path) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '-';
    if (c == '.') {
      parts.emplace_back();
    } else if (word) {
      parts.back() += c;
    } else {
      const std::string hint =
          c == '[' ? "; an item of a list is given by its number from 0, as in data.train.0.weight"
                   : "";
      refuse_yaml(place, concat("a key has letters, digits, '_' and '-', got '", path, "'", hint));
    }
  }
  const bool gap = std::any_of(parts.begin(), parts.end(), [](auto& part) { return part.empty(); });
  if (gap) refuse_yaml(place, concat("want key.path=value, got the key '", path, "'"));
  if (parts.size() > static_cast<size_t>(YamlLimits::kMaxDepth)) {
    refuse_yaml(place, concat("nested deeper than ", YamlLimits::kMaxDepth, " levels"));
  }
  return parts;
}

YamlNode parse_value(const std::string& text, const YamlPlace& place) {
  const bool yaml = !text.empty() && std::string_view("[{\"'").find(text[0]) != std::string::npos;
  if (yaml) return parse_yaml_value(text, place);
  YamlNode node;
  node.place = place;
  if (text == "null" || text == "~") return node;
  node.kind = YamlNode::Kind::kScalar;
  node.scalar = text;
  return node;
}

YamlNode& step_into(YamlNode& node, const std::string& part, const std::string& walked,
                    const YamlPlace& place) {
  if (node.kind == YamlNode::Kind::kList) {
    size_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    if (error != std::errc() || end != part.data() + part.size() || index >= node.items.size()) {
      refuse_yaml(place, concat("'", walked, "' is a list of ", node.items.size(),
                                "; want the number of an item from 0, got '", part, "'"));
    }
    return node.items[index];
  }
  if (node.kind == YamlNode::Kind::kScalar) {
    refuse_yaml(place, concat("'", walked, "' holds ", describe(node), ", so it has no key '", part,
                              "'; set it as a whole"));
  }
  if (node.kind == YamlNode::Kind::kNull) {
    node = YamlNode{.kind = YamlNode::Kind::kMap, .place = place};
  }
  if (YamlNode* found = node.find(part)) return *found;
  YamlNode fresh;
  fresh.place = place;
  node.map.push_back({part, place, std::move(fresh)});
  return node.map.back().value;
}

}  // namespace

void apply_override(YamlNode& root, const std::string& argument, int index) {
  constexpr size_t kMaxShown = 120;
  const std::string shown = valid_utf8(
      argument.size() <= kMaxShown ? argument : concat(argument.substr(0, kMaxShown), "..."));
  const YamlPlace place{.file = concat("command line: '", shown, "'"), .override_index = index};
  check_yaml_text(argument, place, /*is_file=*/false);
  const size_t equals = argument.find('=');
  if (equals == std::string::npos) refuse_yaml(place, "want key.path=value");
  const std::vector<std::string> parts = split_path(argument.substr(0, equals), place);
  const YamlNode value = parse_value(argument.substr(equals + 1), place);

  YamlNode* parent = nullptr;
  YamlNode* node = &root;
  std::string walked;
  for (const std::string& part : parts) {
    parent = node;
    node = &step_into(*node, part, walked, place);
    walked += concat(walked.empty() ? "" : ".", part);
  }
  *node = value;
  for (YamlNode::Entry& entry : parent->map) {
    if (&entry.value == node) entry.key_place = place;
  }
}

}  // namespace orthant
