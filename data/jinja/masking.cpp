// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/masking.h"

#include <map>
#include <set>
#include <string_view>

namespace orthant::jinja {
namespace {

// Names of one scope, in the order in which they are met: is the first a store?
struct Names {
  const Names* outer = nullptr;
  std::map<std::string_view, bool> begins_undefined;
  std::set<std::string_view> stored;

  bool knows(std::string_view name) const {
    return begins_undefined.contains(name) || (outer && outer->knows(name));
  }
  bool is_outside(std::string_view name) const { return outer && outer->knows(name); }
  void load(std::string_view name) {
    if (!knows(name)) begins_undefined[name] = false;
  }
  void store(std::string_view name) {
    stored.insert(name);
    begins_undefined.try_emplace(name, !is_outside(name));
  }
  void parameter(std::string_view name) {
    stored.insert(name);
    begins_undefined[name] = false;
  }
  std::vector<std::string> hidden() const {
    std::vector<std::string> names;
    for (const auto& [name, is_hidden] : begins_undefined)
      if (is_hidden) names.emplace_back(name);
    return names;
  }
};

void load_all(Names& names, const Expression* e) {
  if (!e) return;
  if (e->kind == ExpressionKind::kName) names.load(e->name);
  for (const auto& part : e->parts) load_all(names, part.get());
  for (const auto& [name, value] : e->named) load_all(names, value.get());
}
// Targets: of `set`, or parameters of a scope that begins with them.
void store_all(Names& names, const Expression& target, bool as_parameters) {
  if (target.kind == ExpressionKind::kAttribute) return names.load(target.parts[0]->name);
  if (target.kind == ExpressionKind::kName)
    return as_parameters ? names.parameter(target.name) : names.store(target.name);
  for (const auto& part : target.parts) store_all(names, *part, as_parameters);
}

void meet(Names& names, const Block& block);

// What is stored in some branch only is not hidden: it may not come to that.
void meet_branches(Names& names, const Statement& statement, size_t from) {
  load_all(names, statement.branches[from].condition.get());
  const std::set<std::string_view> before = names.stored;
  Names body = names, others = names, last = names;
  meet(body, statement.branches[from].body);
  if (from == 0)
    for (size_t i = 1; i < statement.branches.size(); ++i) meet_branches(others, statement, i);
  if (from == 0) meet(last, statement.otherwise);
  for (const Names* branch : {&body, &others, &last}) {
    for (const auto& [name, is_hidden] : branch->begins_undefined)
      names.begins_undefined[name] = is_hidden;
    names.stored.insert(branch->stored.begin(), branch->stored.end());
  }
  for (const std::string_view name : names.stored)
    if (!before.contains(name)) names.begins_undefined[name] = false;
}

void meet(Names& names, const Statement& s) {
  switch (s.kind) {
    case StatementKind::kIf:
      return meet_branches(names, s, 0);
    case StatementKind::kSet:
      load_all(names, s.value.get());
      return store_all(names, *s.target, false);
    case StatementKind::kSetBlock:
      return store_all(names, *s.target, false);
    case StatementKind::kMacro:
      return names.store(s.text);
    case StatementKind::kWith:
      for (const auto& [target, value] : s.bindings) load_all(names, value.get());
      return;
    default:
      return load_all(names, s.value.get());
  }
}
void meet(Names& names, const Block& block) {
  for (const auto& statement : block) meet(names, *statement);
}

void fill(const Names& names, const Block& block);

// The scope that a statement opens: its parameters, then its body.
void fill_body(const Names& outer, Statement& s) {
  Names names{.outer = &outer};
  if (s.kind == StatementKind::kFor) {
    names.parameter("loop");
    store_all(names, *s.target, true);
  }
  for (const auto& [target, value] : s.bindings) store_all(names, *target, true);
  for (const Parameter& parameter : s.parameters) names.parameter(parameter.name);
  for (const Parameter& parameter : s.parameters) load_all(names, parameter.otherwise.get());
  meet(names, s.body);
  if (s.kind == StatementKind::kFilterBlock) load_all(names, s.value.get());
  s.hidden = names.hidden();
  fill(names, s.body);
}
void fill_otherwise(const Names& outer, Statement& loop) {
  Names names{.outer = &outer};
  meet(names, loop.otherwise);
  loop.hidden_otherwise = names.hidden();
  fill(names, loop.otherwise);
}

void fill(const Names& names, const Block& block) {
  for (const auto& statement : block) {
    if (statement->kind == StatementKind::kIf) {  // has no scope of its own
      for (const Branch& branch : statement->branches) fill(names, branch.body);
      fill(names, statement->otherwise);
      continue;
    }
    fill_body(names, *statement);
    fill_otherwise(names, *statement);
  }
}

}  // namespace

void find_hidden_names(Template& tree) {
  Names names;
  meet(names, tree.block);
  tree.hidden = names.hidden();
  fill(names, tree.block);
}

}  // namespace orthant::jinja
