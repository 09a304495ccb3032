// SPDX-License-Identifier: Apache-2.0
// A strict YAML reader: text -> a small tree of nodes that know where they were written.
//
// Accepted: mappings, lists and scalars, block or flow style, comments, CRLF, a UTF-8 mark.
// Refused, each with `file:line:col`: anchors, aliases, tags, several documents, duplicate keys,
// keys that are no plain text, NUL and other control bytes, UTF-16, invalid UTF-8, more than 1 MiB,
// 32 levels or 20,000 nodes.  So the cost of any input is bounded.
//
// Errors are Error(kConfig), except a file that is missing or cannot be read: Error(kMissingInput).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orthant {

struct YamlLimits {
  static constexpr size_t kMaxBytes = 1 << 20;
  static constexpr int kMaxDepth = 32;
  static constexpr size_t kMaxNodes = 20000;
};

// Where a node was written: a place in a file, or the argument of the command line.
struct YamlPlace {
  std::string file;        // or "command line: 'key=value'"
  int line = 0;            // from 1; 0: no line (a command-line argument, or built by the program)
  int column = 0;          // from 1, in bytes
  int override_index = 0;  // 0: from a file; n: the n-th argument of the command line

  std::string text() const;  // "run.yaml:3:5" or "command line: 'key=value'"
};
bool operator<(const YamlPlace& a, const YamlPlace& b);  // files first, then line and column

struct YamlNode {
  enum class Kind { kNull, kScalar, kMap, kList };
  struct Entry;

  Kind kind = Kind::kNull;
  std::string scalar;       // kScalar: the text, without quotes
  bool quoted = false;      // kScalar: it stood in quotes, or as a block of text
  bool empty_null = false;  // kNull: nothing was written ("key:"), as opposed to "null" or "~"
  YamlPlace place;
  std::vector<Entry> map;       // kMap, in the order written
  std::vector<YamlNode> items;  // kList

  bool is_map() const { return kind == Kind::kMap; }
  const YamlNode* find(std::string_view key) const;  // nullptr: absent, or no mapping
  YamlNode* find(std::string_view key);
  // The node at "block.key" or "list.0.key"; nullptr when absent.
  const YamlNode* at(std::string_view path) const;
};

struct YamlNode::Entry {
  std::string key;
  YamlPlace key_place;
  YamlNode value;
};

// The root is a mapping.  `name` stands in front of every message.
YamlNode parse_yaml(std::string_view text, const std::string& name);
YamlNode load_yaml(const std::string& path);

// The value part of an override: the whole tree carries `place`.
YamlNode parse_yaml_value(std::string_view text, const YamlPlace& place);

// Puts the value of "key.path=value" into the tree; blocks on the way are made.  The value is a
// plain text taken as it stands, or YAML when it begins with [ { " or '.  A number in the path
// picks an item of a list that is there.  `index` counts the arguments from 1: later ones win.
void apply_override(YamlNode& root, const std::string& argument, int index);

// "mapping", "list", "nothing", or the scalar in quotes, shortened: for messages.
std::string describe(const YamlNode& node);

}  // namespace orthant
