// SPDX-License-Identifier: Apache-2.0
// Configurations: any struct with a field list (base/config/fields.h), filled from YAML and the
// command line, written out, compared and documented.
//
//   LoadedConfig<RunConfig> run = load_config<RunConfig>("run.yaml", {"optimizer.lr=3e-4"});
//   for (const std::string& note : run.source.notes) log::info(note);
//   std::string yaml = to_yaml(run.config);
//   for (const ConfigDifference& d : differences<RunConfig>(stored_yaml, yaml)) log::info(d.text);
//
// A command has one root struct of its own, composed of the blocks that it needs.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/config/fields.h"
#include "base/config/yaml_loader.h"

namespace orthant {

template <class Root>
concept ConfigRoot = std::default_initializable<Root> && requires(Root root, FieldVisitor& v) {
  root.fields(v);
};

// Visits structs by reference; called several times, never kept.
using FieldList = std::function<void(FieldVisitor&)>;
template <ConfigRoot Root>
FieldList field_list(Root& root) {
  return [&root](FieldVisitor& v) { root.fields(v); };
}

// What was read, for checks of relations between fields.
struct ConfigSource {
  YamlNode tree;  // as written, overrides applied, aliases replaced by the names they stand for
  std::vector<std::string> notes;  // one line per alias that was used or key left out: print them

  // Whether "block.key" was written by the user (null counts as not written).
  bool given(std::string_view path) const;
  // "run.yaml:14:5: parallel.tensor_parallel_size", or the bare path where the default holds:
  // begins an error message about that key.
  std::string where(std::string_view path) const;
};

// Fills the fields from a tree and the overrides ("key.path=value").  Numbers, booleans, bounds and
// choices are strict; null keeps a default; a list replaces the default list.  All faults are
// gathered, sorted by place, and thrown together as one Error(kConfig), a line each.  Fields are
// then in an unspecified state.
ConfigSource read_config(YamlNode tree, const std::vector<std::string>& overrides,
                         const FieldList& fields);

template <class Root>
struct LoadedConfig {
  Root config;
  ConfigSource source;
};

// Error(kMissingInput): no such file.
template <ConfigRoot Root>
LoadedConfig<Root> load_config(const std::string& path,
                               const std::vector<std::string>& overrides = {}) {
  LoadedConfig<Root> loaded;
  loaded.source = read_config(load_yaml(path), overrides, field_list(loaded.config));
  return loaded;
}
// From text that is already there, such as a stored config.yaml; `name` stands before messages.
template <ConfigRoot Root>
LoadedConfig<Root> parse_config(std::string_view text, const std::string& name,
                                const std::vector<std::string>& overrides = {}) {
  LoadedConfig<Root> loaded;
  loaded.source = read_config(parse_yaml(text, name), overrides, field_list(loaded.config));
  return loaded;
}

// The values as YAML text, every field, in the order of the field list.  Reading it gives the same
// values, to the last bit of every double.
std::string dump_config(const FieldList& fields);
template <ConfigRoot Root>
std::string to_yaml(Root root) {
  return dump_config(field_list(root));
}

// A section per block with a list of its keys: values, default, help; at most 100 columns.
std::string reference_page(const FieldList& fields, const std::string& title);
template <ConfigRoot Root>
std::string reference_page(const std::string& title) {
  Root defaults;
  return reference_page(field_list(defaults), title);
}

struct ConfigDifference {
  std::string text;  // "optimizer.learning_rate: 3e-4 -> 0.001"; "(absent)" for a missing side
  bool may_change = false;  // FieldVisitor::may_change_on_resume
};
// Of two dumps, in the order of the first.  `defaults`: freshly made; a key that the old dump lacks
// had its default then, so that a new key does not make every old run another one.
std::vector<ConfigDifference> differences(const std::string& old_yaml, const std::string& new_yaml,
                                          const FieldList& defaults);
template <ConfigRoot Root>
std::vector<ConfigDifference> differences(const std::string& old_yaml,
                                          const std::string& new_yaml) {
  Root defaults;
  return differences(old_yaml, new_yaml, field_list(defaults));
}

}  // namespace orthant
