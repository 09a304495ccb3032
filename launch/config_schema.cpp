// SPDX-License-Identifier: Apache-2.0
#include "launch/config_schema.h"

#include <algorithm>

#include "base/error.h"

namespace orthant {
namespace {

class SchemaVisitor : public FieldVisitor {
 public:
  explicit SchemaVisitor(Schema& schema) : schema_(schema) {}

  void field(std::string_view name, bool&, std::string_view) override { add(name); }
  void field(std::string_view name, int64_t&, IntBounds, std::string_view) override { add(name); }
  void field(std::string_view name, double&, RealBounds, std::string_view) override { add(name); }
  void field(std::string_view name, std::string&, TextRule, std::string_view) override {
    add(name);
  }
  void field(std::string_view name, std::vector<double>&, RealBounds, std::string_view) override {
    add(name);
  }
  void block(std::string_view name, std::string_view,
             const std::function<void(FieldVisitor&)>& fields) override {
    Schema::Key key{std::string(name), Schema::Key::Kind::kBlock, {}};
    SchemaVisitor inner(key.inner);
    fields(inner);
    schema_.keys.push_back(std::move(key));
  }
  void list(std::string_view name, std::string_view, size_t size,
            const std::function<void(size_t)>& resize,
            const std::function<void(size_t, FieldVisitor&)>& item) override {
    Schema::Key key{std::string(name), Schema::Key::Kind::kList, {}};
    SchemaVisitor inner(key.inner);
    visit_one_item(size, resize, item, inner);
    schema_.keys.push_back(std::move(key));
  }
  void alias(std::string_view other, std::string_view name) override {
    schema_.aliases.emplace_back(other, name);
  }
  void foreign(std::string_view name, std::vector<std::string> accepted,
               std::string_view instead) override {
    schema_.foreign.push_back({std::string(name), std::move(accepted), std::string(instead)});
  }

 private:
  void add(std::string_view name) {
    schema_.keys.push_back({std::string(name), Schema::Key::Kind::kField, {}});
  }
  Schema& schema_;
};

void append_paths(const Schema& schema, const std::string& path, std::vector<std::string>& result) {
  for (const Schema::Key& key : schema.keys) {
    const std::string name = join_path(path, key.name);
    result.push_back(name);
    append_paths(key.inner, name, result);
  }
}

using Faults = std::vector<std::pair<YamlPlace, std::string>>;

// Puts `entry` at `name` (maybe dotted) below `map`, or keeps what stands there when that is newer.
void place_entry(YamlNode& map, std::string_view name, YamlNode::Entry entry,
                 const std::string& path, const std::string& alias, Faults& faults) {
  const size_t dot = name.find('.');
  const std::string part(name.substr(0, dot));
  YamlNode* found = map.find(part);
  if (dot != std::string_view::npos) {
    if (!found) {
      YamlNode block{.kind = YamlNode::Kind::kMap, .place = entry.value.place};
      map.map.push_back({part, entry.key_place, std::move(block)});
      found = &map.map.back().value;
    }
    if (found->kind == YamlNode::Kind::kNull) found->kind = YamlNode::Kind::kMap;
    if (!found->is_map()) return;  // a fault of its own, reported when the block is read
    place_entry(*found, name.substr(dot + 1), std::move(entry), join_path(path, part), alias,
                faults);
    return;
  }
  entry.key = part;
  if (!found) {
    map.map.push_back(std::move(entry));
    return;
  }
  auto standing = std::find_if(map.map.begin(), map.map.end(),
                               [&](const YamlNode::Entry& e) { return e.key == part; });
  const int ours = entry.key_place.override_index;
  const int theirs = standing->key_place.override_index;
  if (ours == theirs) {
    faults.emplace_back(
        entry.key_place,
        concat(entry.key_place.text(), ": ", alias, ": another name of ", join_path(path, part),
               ", which is given at ", standing->key_place.text(), " as well; keep one of them"));
  } else if (ours > theirs) {
    *standing = std::move(entry);
  }
}

// Takes out the keys that say nothing here, and faults those that ask for what there is not.
void drop_foreign(YamlNode& map, const Schema& schema, const std::string& path,
                  std::vector<std::string>& notes, Faults& faults) {
  for (const Schema::Foreign& key : schema.foreign) {
    const auto at = std::find_if(map.map.begin(), map.map.end(),
                                 [&](const YamlNode::Entry& e) { return e.key == key.name; });
    if (at == map.map.end()) continue;
    const std::string where = concat(at->key_place.text(), ": ", join_path(path, key.name));
    const std::string& text = at->value.scalar;
    if (key.accepted.empty() ||
        std::find(key.accepted.begin(), key.accepted.end(), text) != key.accepted.end()) {
      notes.push_back(where + (key.instead.empty() ? " says nothing here and is left out"
                                                   : " is left out; use " + key.instead));
    } else {
      std::string wanted;
      for (const std::string& value : key.accepted)
        wanted += (wanted.empty() ? "" : " or ") + (value.empty() ? "null" : value);
      faults.emplace_back(at->key_place, concat(where, ": want ", wanted, ", got ",
                                                describe(at->value), "; nothing else is built"));
    }
    map.map.erase(at);
  }
}

void resolve_block(YamlNode& map, const Schema& schema, const std::string& path,
                   std::vector<std::string>& notes, Faults& faults) {
  if (!map.is_map()) return;
  drop_foreign(map, schema, path, notes, faults);
  for (const auto& [other, name] : schema.aliases) {
    const auto at = std::find_if(map.map.begin(), map.map.end(),
                                 [&](const YamlNode::Entry& e) { return e.key == other; });
    if (at == map.map.end() || schema.find(other)) continue;
    YamlNode::Entry entry = std::move(*at);
    map.map.erase(at);
    const std::string alias = join_path(path, other);
    notes.push_back(
        concat(entry.key_place.text(), ": '", alias, "' is read as '", join_path(path, name), "'"));
    place_entry(map, name, std::move(entry), path, alias, faults);
  }
  for (YamlNode::Entry& entry : map.map) {
    const Schema::Key* key = schema.find(entry.key);
    if (!key) continue;
    const std::string inner_path = join_path(path, entry.key);
    if (key->kind == Schema::Key::Kind::kList) {
      for (size_t i = 0; i < entry.value.items.size(); ++i) {
        resolve_block(entry.value.items[i], key->inner, concat(inner_path, "[", i, "]"), notes,
                      faults);
      }
    }
    if (key->kind != Schema::Key::Kind::kField) {
      resolve_block(entry.value, key->inner, inner_path, notes, faults);
    }
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
  SchemaVisitor visitor(schema);
  fields(visitor);
  return schema;
}

std::vector<std::string> all_paths(const Schema& schema) {
  std::vector<std::string> result;
  append_paths(schema, "", result);
  return result;
}

void resolve_aliases(YamlNode& tree, const Schema& schema, std::vector<std::string>& notes,
                     Faults& faults) {
  resolve_block(tree, schema, "", notes, faults);
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
