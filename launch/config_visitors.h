// SPDX-License-Identifier: Apache-2.0
// What is done with the field lists of configuration structs (base/fields.h): fill them from YAML,
// write them out, document them, compare them.
//
//   RunConfig config;
//   auto fields = [&](FieldVisitor& v) { config.fields(v); };
//   LoadedConfig loaded = load_config("run.yaml", {"optimizer.learning_rate=3e-4"}, fields);
//   for (const std::string& note : loaded.notes) log::info(note);
//   std::string yaml = dump_config(fields);
//
// `fields` visits the caller's structs by reference and is called several times; nothing keeps it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fields.h"
#include "launch/yaml_loader.h"

namespace orthant {

using FieldList = std::function<void(FieldVisitor&)>;

// What was read, for checks of relations between fields.
struct LoadedConfig {
  YamlNode tree;  // as written, overrides applied, aliases replaced by the names they stand for
  std::vector<std::string> notes;  // one line per alias that was used: print them

  // Whether "block.key" was written by the user (null counts as not written).
  bool given(std::string_view path) const;
  // "run.yaml:14:5: parallel.tensor_parallel_size", or the bare path where the default holds:
  // begins an error message about that key.
  std::string where(std::string_view path) const;
};

// Reads `path` and the overrides ("key.path=value"), then fills the fields.  Numbers, booleans,
// bounds and choices are strict; null keeps a default; a list replaces the default list.  All
// faults are gathered, sorted by place, and thrown together as one Error(kConfig), a line each.
// Fields are then in an unspecified state.  Error(kMissingInput): no such file.
LoadedConfig load_config(const std::string& path, const std::vector<std::string>& overrides,
                         const FieldList& fields);
// The same on a tree that is already there (for example a stored config.yaml, or a test's text).
LoadedConfig read_config(YamlNode tree, const std::vector<std::string>& overrides,
                         const FieldList& fields);

// The values as YAML text, every field, in the order of the field list.  read_config() of it gives
// the same values, to the last bit of every double.
std::string dump_config(const FieldList& fields);

// docs/configuration.md: a section per block with a table of key, type and bounds, default, help.
// Defaults are the present values: pass freshly made structs.
std::string reference_page(const FieldList& fields, const std::string& title);

// Differences of two dumps, "optimizer.learning_rate: 0.0003 -> 0.001", in the order of the first;
// a side that lacks the key shows "(absent)".
std::vector<std::string> diff_configs(const std::string& old_yaml, const std::string& new_yaml);

}  // namespace orthant
