// SPDX-License-Identifier: Apache-2.0
// What keys are called elsewhere: aliases, and keys of a pasted config.json that are no fields.
#include <algorithm>

#include "base/config/scalar_text.h"
#include "base/config/schema.h"
#include "base/text.h"

namespace orthant {
namespace {

using Faults = std::vector<std::pair<YamlPlace, std::string>>;

// Whether a value written in a file means the same as one of a rule: numbers by what they are, and
// a mapping whatever the order of its keys.
bool means(const YamlNode& written, const YamlNode& neutral) {
  if (written.kind != neutral.kind) return false;
  switch (neutral.kind) {
    case YamlNode::Kind::kNull:
      return true;
    case YamlNode::Kind::kScalar: {
      const Reading<double> a = read_real(written.scalar), b = read_real(neutral.scalar);
      const bool is_text = !b.value && !read_bool(neutral.scalar).value;
      if (written.quoted && !is_text) return false;  // "false" in quotes is a text
      return b.value ? a.value == b.value : written.scalar == neutral.scalar;
    }
    case YamlNode::Kind::kList:
      return std::equal(written.items.begin(), written.items.end(), neutral.items.begin(),
                        neutral.items.end(), means);
    case YamlNode::Kind::kMap:
      return written.map.size() == neutral.map.size() &&
             std::all_of(neutral.map.begin(), neutral.map.end(), [&](const YamlNode::Entry& e) {
               const YamlNode* found = written.find(e.key);
               return found && means(*found, e.value);
             });
  }
  return false;
}

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
    if (means(entry.value, standing->value)) return;  // said twice, the same
    if (standing->value.kind == YamlNode::Kind::kNull) {
      *standing = std::move(entry);
      return;
    }
    if (entry.value.kind == YamlNode::Kind::kNull) return;
    faults.emplace_back(
        entry.key_place,
        concat(entry.key_place.text(), ": ", alias, ": another name of ", join_path(path, part),
               ", which is given at ", standing->key_place.text(), " as well; keep one of them"));
  } else if (ours > theirs) {
    *standing = std::move(entry);
  }
}

bool is_neutral(const YamlNode& node, const ForeignRule& rule) {
  return node.kind == YamlNode::Kind::kNull || rule.is_remark ||
         std::any_of(rule.neutral.begin(), rule.neutral.end(), [&](const std::string& text) {
           return means(node, parse_yaml_value(text, {}));
         });
}

// Takes out the keys that say nothing here, and faults those that ask for what there is not.
void drop_foreign(YamlNode& map, const Schema& schema, const std::string& path,
                  std::vector<std::string>& notes, Faults& faults) {
  for (const auto& [name, rule] : schema.foreign) {
    const auto at = std::find_if(map.map.begin(), map.map.end(),
                                 [&](const YamlNode::Entry& e) { return e.key == name; });
    if (at == map.map.end()) continue;
    const std::string where = concat(at->key_place.text(), ": ", join_path(path, name));
    if (is_neutral(at->value, rule)) {
      const bool proposes = rule.is_remark && !rule.hint.empty();
      notes.push_back(
          where + (proposes ? " is left out; " + rule.hint : " says nothing here and is left out"));
    } else {
      std::string wanted = "null";
      for (const std::string& value : rule.neutral) wanted += " or " + value;
      faults.emplace_back(at->key_place,
                          concat(where, ": want ", wanted, ", got ", describe(at->value), "; ",
                                 rule.hint.empty() ? "nothing else is built" : rule.hint));
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

void resolve_names(YamlNode& tree, const Schema& schema, std::vector<std::string>& notes,
                   Faults& faults) {
  resolve_block(tree, schema, "", notes, faults);
}

}  // namespace orthant
