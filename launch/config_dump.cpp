// SPDX-License-Identifier: Apache-2.0
#include <unordered_map>

#include "base/text.h"
#include "launch/config_schema.h"
#include "launch/config_visitors.h"
#include "launch/scalar_text.h"

namespace orthant {
namespace {

class DumpVisitor : public FieldVisitor {
 public:
  explicit DumpVisitor(size_t indent) : indent_(indent) {}
  const std::string& text() const { return text_; }

  void field(std::string_view name, bool& value, std::string_view) override {
    line(name, value ? "true" : "false");
  }
  void field(std::string_view name, int64_t& value, IntBounds, std::string_view) override {
    line(name, concat(value));
  }
  void field(std::string_view name, double& value, RealBounds, std::string_view) override {
    line(name, real_text(value));
  }
  void field(std::string_view name, std::string& value, TextRule, std::string_view) override {
    line(name, yaml_scalar(value));
  }
  void field(std::string_view name, std::vector<double>& value, RealBounds,
             std::string_view) override {
    line(name, yaml_list(value));
  }
  void block(std::string_view name, std::string_view,
             const std::function<void(FieldVisitor&)>& fields) override {
    DumpVisitor inner(indent_ + 2);
    fields(inner);
    if (inner.text_.empty()) {
      line(name, "{}");
    } else {
      line(name, "");
      text_ += inner.text_;
    }
  }
  void list(std::string_view name, std::string_view, size_t size,
            const std::function<void(size_t)>&,
            const std::function<void(size_t, FieldVisitor&)>& item) override {
    line(name, size == 0 ? "[]" : "");
    for (size_t i = 0; i < size; ++i) {
      DumpVisitor inner(indent_ + 4);
      item(i, inner);
      std::string text = inner.text_.empty() ? std::string(indent_ + 4, ' ') + "{}\n" : inner.text_;
      text[indent_ + 2] = '-';
      text_ += text;
    }
  }
  void alias(std::string_view, std::string_view) override {}

 private:
  void line(std::string_view name, const std::string& value) {
    text_ += concat(std::string(indent_, ' '), name, ":", value.empty() ? "" : " ", value, "\n");
  }
  size_t indent_;
  std::string text_;
};

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

}  // namespace

std::string dump_config(const FieldList& fields) {
  DumpVisitor visitor(0);
  fields(visitor);
  return visitor.text();
}

std::vector<std::string> diff_configs(const std::string& old_yaml, const std::string& new_yaml) {
  Flat before, after;
  flatten(parse_yaml(old_yaml, "stored configuration"), "", before);
  flatten(parse_yaml(new_yaml, "configuration"), "", after);
  const std::unordered_map<std::string, std::string> old_values(before.begin(), before.end());
  const std::unordered_map<std::string, std::string> new_values(after.begin(), after.end());
  std::vector<std::string> lines;
  for (const auto& [path, value] : before) {
    const auto found = new_values.find(path);
    if (found == new_values.end()) {
      lines.push_back(concat(path, ": ", value, " -> (absent)"));
    } else if (found->second != value) {
      lines.push_back(concat(path, ": ", value, " -> ", found->second));
    }
  }
  for (const auto& [path, value] : after) {
    if (!old_values.count(path)) lines.push_back(concat(path, ": (absent) -> ", value));
  }
  return lines;
}

}  // namespace orthant
