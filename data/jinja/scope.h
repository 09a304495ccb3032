// SPDX-License-Identifier: Apache-2.0
// Variables of a block, macros, and the state of a loop.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "data/jinja/syntax.h"
#include "data/jinja/value.h"

namespace orthant::jinja {

// Names are the tree's or the caller's, which live longer.
struct Scope {
  std::shared_ptr<Scope> outer;
  std::vector<std::pair<std::string_view, Value>> variables;

  const Value* find(std::string_view name) const;  // here or further out
  void set(std::string_view name, Value value);    // here
};

struct Macro {
  const Statement* definition = nullptr;
  std::shared_ptr<Scope> scope;  // where it was defined
};

// What `loop` is inside a for block.
struct Loop {
  std::function<bool(Value&)> next_item;
  std::optional<int64_t> length;  // asked for, or known
  std::optional<Value> after;     // read ahead
  Value current, before;
  int64_t index0 = -1;
  int64_t depth0 = 0;
  std::optional<Value> last_changed;

  bool next(Value& item);
  void forget();  // what it holds, when the block has ended
  Value attribute(Render& render, const Value& self, std::string_view name);

 private:
  bool peek();
  int64_t count(Render& render);
};

}  // namespace orthant::jinja
