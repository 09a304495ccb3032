// SPDX-License-Identifier: Apache-2.0
#include "base/config/schema.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace orthant {
namespace {

class SchemaVisitor : public FieldVisitor {
 public:
  SchemaVisitor(Schema& schema, bool may_change) : schema_(schema), may_change_(may_change) {}

  void field(std::string_view name, bool&, std::string_view) override { add(name); }
  void field(std::string_view name, int64_t&, IntBounds, std::string_view) override { add(name); }
  void field(std::string_view name, double&, RealBounds, std::string_view) override { add(name); }
  void field(std::string_view name, std::string&, TextRule, std::string_view) override {
    add(name);
  }
  void field(std::string_view name, std::vector<double>&, RealBounds, std::string_view) override {
    add(name);
  }
  void field(std::string_view name, std::vector<int64_t>&, IntBounds, std::string_view) override {
    add(name);
  }
  void block(std::string_view name, std::string_view,
             const std::function<void(FieldVisitor&)>& fields) override {
    Schema::Key key{std::string(name), Schema::Key::Kind::kBlock, may_change_, {}};
    SchemaVisitor inner(key.inner, may_change_);
    fields(inner);
    schema_.keys.push_back(std::move(key));
  }
  void list(std::string_view name, std::string_view, size_t size,
            const std::function<void(size_t)>& resize,
            const std::function<void(size_t, FieldVisitor&)>& item) override {
    Schema::Key key{std::string(name), Schema::Key::Kind::kList, may_change_, {}};
    SchemaVisitor inner(key.inner, may_change_);
    visit_one_item(size, resize, item, inner);
    schema_.keys.push_back(std::move(key));
  }
  void alias(std::string_view other, std::string_view name) override {
    schema_.aliases.emplace_back(other, name);
  }
  void may_change_on_resume(const std::function<void()>& fields) override {
    const bool outside = std::exchange(may_change_, true);
    fields();
    may_change_ = outside;
  }
  void foreign(std::string_view name, const ForeignRule& rule) override {
    schema_.foreign.emplace_back(name, rule);
  }

 private:
  void add(std::string_view name) {
    schema_.keys.push_back({std::string(name), Schema::Key::Kind::kField, may_change_, {}});
  }
  Schema& schema_;
  bool may_change_;
};

void append_paths(const Schema& schema, const std::string& path, std::vector<std::string>& result) {
  for (const Schema::Key& key : schema.keys) {
    const std::string name = join_path(path, key.name);
    result.push_back(name);
    append_paths(key.inner, name, result);
  }
}

}  // namespace

const Schema::Key* Schema::find(std::string_view name) const {
  for (const Key& key : keys) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

std::string join_path(std::string_view block, std::string_view key) {
  return block.empty() ? std::string(key) : concat(block, ".", key);
}

void visit_one_item(size_t size, const std::function<void(size_t)>& resize,
                    const std::function<void(size_t, FieldVisitor&)>& item, FieldVisitor& visitor) {
  if (size == 0) resize(1);
  item(0, visitor);
  if (size == 0) resize(0);
}

Schema collect_schema(const FieldList& fields) {
  Schema schema;
  SchemaVisitor visitor(schema, false);
  fields(visitor);
  return schema;
}

std::vector<std::string> all_paths(const Schema& schema) {
  std::vector<std::string> result;
  append_paths(schema, "", result);
  return result;
}

bool may_change(const Schema& schema, std::string_view path) {
  const size_t dot = path.find('.');
  const std::string_view part = path.substr(0, dot);
  const Schema::Key* key = schema.find(part.substr(0, part.find('[')));
  if (!key) return false;
  return dot == std::string_view::npos ? key->may_change
                                       : may_change(key->inner, path.substr(dot + 1));
}

std::string unknown_key_hint(const Schema& root, const Schema& block, std::string_view path,
                             const std::string& key) {
  const std::vector<std::string> paths = all_paths(root);
  if (std::find(paths.begin(), paths.end(), key) != paths.end() &&
      key.find('.') != std::string::npos) {
    return "; in a file, blocks are nested: write the last part indented below its block";
  }
  std::string exact;
  int num_exact = 0;
  for (const std::string& other : paths) {
    const bool same = other == key || other.ends_with(concat(".", key));
    if (!same || other == join_path(path, key) || ++num_exact > 3) continue;
    exact += concat(exact.empty() ? "" : ", ", "'", other, "'");
  }
  if (num_exact > 0) return concat("; it exists as ", exact, num_exact > 3 ? ", ..." : "");
  std::vector<std::string> names;
  for (const Schema::Key& known : block.keys) names.push_back(known.name);
  std::vector<std::string> candidates = names;
  for (const auto& alias : block.aliases) candidates.push_back(alias.first);
  const std::string nearest = nearest_name_in(key, candidates);
  if (!nearest.empty()) return concat("; did you mean '", nearest, "'?");
  std::vector<std::string> leaves;  // a typing error and the wrong block at once
  for (const std::string& other : paths) leaves.push_back(other.substr(other.rfind('.') + 1));
  const std::string elsewhere = nearest_name_in(key, leaves);
  for (size_t i = 0; i < paths.size() && !elsewhere.empty(); ++i) {
    if (leaves[i] == elsewhere) return concat("; did you mean '", paths[i], "'?");
  }
  std::string listed;
  for (const std::string& name : names) listed += concat(listed.empty() ? "" : ", ", name);
  return names.empty() || listed.size() > 400 ? "" : concat("; keys here: ", listed);
}

}  // namespace orthant
