// SPDX-License-Identifier: Apache-2.0
// The shape of a configuration, gathered from its field list: names, nesting and aliases, without
// values.  Internal to base/config/.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/config/config.h"

namespace orthant {

struct Schema {
  struct Key;
  std::vector<Key> keys;                                     // in the order of the field list
  std::vector<std::pair<std::string, std::string>> aliases;  // other name -> name, maybe dotted
  std::vector<std::pair<std::string, ForeignRule>> foreign;  // keys that are no fields

  const Key* find(std::string_view name) const;
};
struct Schema::Key {
  enum class Kind { kField, kBlock, kList };
  std::string name;
  Kind kind = Kind::kField;
  bool may_change = false;  // FieldVisitor::may_change_on_resume
  Schema inner;             // of a block, or of one item of a list
};

// An empty list is given an item for the moment of the visit, to see the fields of it.
Schema collect_schema(const FieldList& fields);

// Calls `fields` for an item of the list, which is given one when it is empty and emptied again.
void visit_one_item(size_t size, const std::function<void(size_t)>& resize,
                    const std::function<void(size_t, FieldVisitor&)>& item, FieldVisitor& visitor);

// "block.key" of every key, blocks included.
std::vector<std::string> all_paths(const Schema& schema);

// Whether the field at "block.key" or "block.list[2].key" may differ when a run is resumed; false
// for one that there is not.
bool may_change(const Schema& schema, std::string_view path);

// Takes foreign keys out of the tree, and renames the entries that were written under another name,
// moving those whose name is dotted into their block.  A value of the command line wins over one of
// the file, under either name; two values of the same origin are a fault.  Faults are appended.
void resolve_names(YamlNode& tree, const Schema& schema, std::vector<std::string>& notes,
                   std::vector<std::pair<YamlPlace, std::string>>& faults);

// "; did you mean 'x'?" and its like, for a key that the block at `path` does not have.
std::string unknown_key_hint(const Schema& root, const Schema& block, std::string_view path,
                             const std::string& key);

std::string join_path(std::string_view block, std::string_view key);

}  // namespace orthant
