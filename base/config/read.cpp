// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>

#include "base/config/config.h"
#include "base/config/scalar_text.h"
#include "base/config/schema.h"
#include "base/problems.h"

namespace orthant {
namespace {

// What one reading shares over all blocks.
struct Faults {
  const Schema& schema;
  std::vector<std::pair<YamlPlace, std::string>> list;  // whole lines, with the place to sort by

  void add(const YamlPlace& place, std::string_view path, const std::string& message) {
    list.emplace_back(place, concat(place.text(), ": ", path, ": ", message));
  }
  void raise() {
    std::stable_sort(list.begin(), list.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    constexpr size_t kMaxShown = 50;
    Problems problems;
    for (size_t i = 0; i < std::min(list.size(), kMaxShown); ++i) problems.add(list[i].second);
    problems.want(list.size() <= kMaxShown, "and ", list.size() - kMaxShown, " more");
    problems.raise();
  }
};

// Fills the fields of one block from one mapping.
class ReadVisitor : public FieldVisitor {
 public:
  // `node` may be nullptr: the block is absent, and only required fields are looked at.
  // `place` is where a missing key is reported.
  ReadVisitor(const YamlNode* node, YamlPlace place, std::string path, const Schema& schema,
              Faults& faults)
      : node_(node),
        place_(std::move(place)),
        path_(std::move(path)),
        schema_(schema),
        faults_(faults) {}

  void field(std::string_view name, bool& value, std::string_view) override {
    const YamlNode* node = scalar(name, "true or false");
    if (node) take(name, *node, "true or false", read_bool(node->scalar), value);
  }
  void field(std::string_view name, int64_t& value, IntBounds bounds, std::string_view) override {
    const YamlNode* node = scalar(name, wanted(bounds));
    if (node) take_number(name, *node, bounds, read_integer(node->scalar), value);
  }
  void field(std::string_view name, double& value, RealBounds bounds, std::string_view) override {
    const YamlNode* node = scalar(name, wanted(bounds));
    if (node) take_number(name, *node, bounds, read_real(node->scalar), value);
  }
  void field(std::string_view name, std::string& value, TextRule rule, std::string_view) override {
    const YamlNode* node = scalar(name, wanted(rule));
    if (node) {
      const bool known = rule.choices.empty() || std::find(rule.choices.begin(), rule.choices.end(),
                                                           node->scalar) != rule.choices.end();
      if (!known && rule.why_not) {
        faults_.add(node->place, join_path(path_, name),
                    concat(rule.why_not(node->scalar), "; want ", wanted(rule)));
        return;
      }
      if (!known) {
        const std::string near = nearest_name_in(node->scalar, rule.choices);
        complain(name, *node, wanted(rule),
                 near.empty() ? "" : concat("did you mean '", near, "'?"));
        return;
      }
      value = rule.path ? home_expanded(name, *node) : node->scalar;
    }
    if (!rule.required || !value.empty()) return;
    const bool written = node != nullptr;
    faults_.add(written ? node->place : place_, join_path(path_, name),
                written ? "required, but empty" : "required, but missing");
  }
  void field(std::string_view name, std::vector<double>& value, RealBounds bounds,
             std::string_view) override {
    take_list(name, bounds, read_real, value);
  }
  void field(std::string_view name, std::vector<int64_t>& value, IntBounds bounds,
             std::string_view) override {
    take_list(name, bounds, read_integer, value);
  }

  void block(std::string_view name, std::string_view,
             const std::function<void(FieldVisitor&)>& fields) override {
    const YamlNode* node = find(name);
    if (node && node->kind != YamlNode::Kind::kMap && node->kind != YamlNode::Kind::kNull) {
      complain(name, *node, "a block of 'key: value' lines", "");
      return;
    }
    const bool map = node && node->is_map();
    const Schema::Key* key = schema_.find(name);
    ReadVisitor inner(map ? node : nullptr, map ? node->place : place_, join_path(path_, name),
                      key ? key->inner : schema_, faults_);
    fields(inner);
    inner.report_unknown();
  }

  void list(std::string_view name, std::string_view, size_t,
            const std::function<void(size_t)>& resize,
            const std::function<void(size_t, FieldVisitor&)>& item) override {
    const YamlNode* node = take_node(name, "a list");
    if (!node) return;
    const Schema::Key* key = schema_.find(name);
    ORTHANT_CHECK(key, kInternal, join_path(path_, name), ": a field list changed between visits");
    const bool is_list = node->kind == YamlNode::Kind::kList;
    const size_t size = is_list ? node->items.size() : 1;  // one alone may stand without the dash
    resize(0);                                             // every item begins with its defaults
    resize(size);
    for (size_t i = 0; i < size; ++i) {
      read_item(is_list ? node->items[i] : *node, concat(name, "[", i, "]"), *key, i, item);
    }
  }

  void report_unknown() {
    if (!node_) return;
    for (const YamlNode::Entry& entry : node_->map) {
      if (std::find(seen_.begin(), seen_.end(), entry.key) != seen_.end()) continue;
      faults_.add(
          entry.key_place, join_path(path_, entry.key),
          concat("unknown key", unknown_key_hint(faults_.schema, schema_, path_, entry.key)));
    }
  }

 private:
  const YamlNode* find(std::string_view name) {
    seen_.emplace_back(name);
    return node_ ? node_->find(name) : nullptr;
  }

  // The node of a key that has a value; an explicit null keeps the default.
  const YamlNode* take_node(std::string_view name, const std::string& want) {
    const YamlNode* node = find(name);
    if (!node || node->kind != YamlNode::Kind::kNull) return node;
    if (node->empty_null) {
      faults_.add(key_place(name), join_path(path_, name),
                  concat("want ", want, ", got nothing; write null to keep the default"));
    }
    return nullptr;
  }

  const YamlNode* scalar(std::string_view name, const std::string& want) {
    const YamlNode* node = take_node(name, want);
    if (!node || node->kind == YamlNode::Kind::kScalar) return node;
    complain(name, *node, want, "");
    return nullptr;
  }

  // No shell expands the ~ of a file, or the one behind a "key=".
  std::string home_expanded(std::string_view name, const YamlNode& node) {
    const std::string& path = node.scalar;
    if (!path.starts_with('~')) return path;
    const char* home = std::getenv("HOME");
    const bool is_own = path == "~" || path.starts_with("~/");
    if (is_own && home && *home != '\0') return home + path.substr(1);
    complain(name, node, "a path",
             is_own ? "~ is the home directory, and HOME is not set"
                    : "write the home directory of another user out, or ./~ for a file of this "
                      "name");
    return path;
  }

  YamlPlace key_place(std::string_view name) const {
    for (const YamlNode::Entry& entry : node_->map) {
      if (entry.key == name) return entry.key_place;
    }
    return place_;
  }

  template <class T>
  void take(std::string_view name, const YamlNode& node, const std::string& want,
            const Reading<T>& reading, T& value) {
    if (reading.value && !node.quoted) {
      value = *reading.value;
    } else {
      complain(name, node, want, node.quoted ? "remove the quotes" : reading.hint);
    }
  }

  template <class T, class Bounds>
  void take_number(std::string_view name, const YamlNode& node, const Bounds& bounds,
                   Reading<T> reading, T& value) {
    if (reading.value && !within(*reading.value, bounds)) reading.value.reset();
    take(name, node, wanted(bounds), reading, value);
  }

  template <class T, class Bounds, class Read>
  void take_list(std::string_view name, const Bounds& bounds, const Read& read,
                 std::vector<T>& value) {
    const YamlNode* node = take_node(name, "a list of numbers like [1, 2]");
    if (!node) return;
    if (node->kind != YamlNode::Kind::kList) {
      complain(name, *node, "a list of numbers like [1, 2]", "");
      return;
    }
    std::vector<T> values(node->items.size());
    for (size_t i = 0; i < values.size(); ++i) {
      const YamlNode& item = node->items[i];
      const std::string item_name = concat(name, "[", i, "]");
      if (item.kind == YamlNode::Kind::kScalar) {
        take_number(item_name, item, bounds, read(item.scalar), values[i]);
      } else {
        complain(item_name, item, wanted(bounds), "");
      }
    }
    value = std::move(values);
  }

  void complain(std::string_view name, const YamlNode& node, const std::string& want,
                const std::string& hint) {
    faults_.add(node.place, join_path(path_, name),
                concat("want ", want, ", got ", describe(node), hint.empty() ? "" : "; ", hint));
  }

  void read_item(const YamlNode& node, const std::string& name, const Schema::Key& key,
                 size_t index, const std::function<void(size_t, FieldVisitor&)>& item) {
    YamlNode shorthand;  // a plain text stands for the first field
    const YamlNode* map = &node;
    if (node.kind == YamlNode::Kind::kScalar && !key.inner.keys.empty()) {
      shorthand = YamlNode{.kind = YamlNode::Kind::kMap, .place = node.place};
      shorthand.map.push_back({key.inner.keys.front().name, node.place, node});
      map = &shorthand;
    } else if (!node.is_map()) {
      complain(name, node, "a block of 'key: value' lines, or a text", "");
      return;
    }
    ReadVisitor inner(map, map->place, join_path(path_, name), key.inner, faults_);
    item(index, inner);
    inner.report_unknown();
  }

  const YamlNode* node_;
  YamlPlace place_;
  std::string path_;
  const Schema& schema_;
  Faults& faults_;
  std::vector<std::string> seen_;
};

}  // namespace

bool ConfigSource::given(std::string_view path) const {
  const YamlNode* node = tree.at(path);
  return node && node->kind != YamlNode::Kind::kNull;
}

std::string ConfigSource::where(std::string_view path) const {
  const YamlNode* node = tree.at(path);
  return node ? concat(node->place.text(), ": ", path) : std::string(path);
}

ConfigSource read_config(YamlNode tree, const std::vector<std::string>& overrides,
                         const FieldList& fields) {
  ORTHANT_CHECK(tree.is_map(), kInternal, "read_config: want a mapping, got ", describe(tree));
  const Schema schema = collect_schema(fields);
  Faults faults{schema, {}};
  for (size_t i = 0; i < overrides.size(); ++i) {
    try {
      apply_override(tree, overrides[i], static_cast<int>(i + 1));
    } catch (const Error& error) {  // gathered with the others; the text names its origin
      faults.list.emplace_back(YamlPlace{.override_index = static_cast<int>(i + 1)}, error.what());
    }
  }
  ConfigSource source;
  resolve_names(tree, schema, source.notes, faults.list);
  ReadVisitor visitor(&tree, tree.place, "", schema, faults);
  fields(visitor);
  visitor.report_unknown();
  faults.raise();
  source.tree = std::move(tree);
  return source;
}

}  // namespace orthant
