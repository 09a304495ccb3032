// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/scope.h"

#include "data/jinja/operators.h"
#include "data/jinja/render.h"

namespace orthant::jinja {

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope; scope = scope->outer.get())
    for (const auto& [known, value] : scope->variables)
      if (known == name) return &value;
  return nullptr;
}
void Scope::set(std::string_view name, Value value) {
  for (auto& [known, old] : variables)
    if (known == name) {
      old = std::move(value);
      return;
    }
  variables.emplace_back(name, std::move(value));
}

bool Loop::next(Value& item) {
  if (after) {
    item = std::move(*after);
    after.reset();
  } else if (!next_item(item)) {
    return false;
  }
  ++index0;
  before = std::move(current);
  current = item;
  return true;
}
void Loop::forget() {
  next_item = [](Value&) { return false; };
  after.reset();
  last_changed.reset();
}
bool Loop::peek() {
  Value item;
  if (!after && next_item(item)) after = std::move(item);
  return after.has_value();
}

// Where the length is not known what is left is read, as Jinja does.
int64_t Loop::count(Render& render) {
  if (length) return *length;
  std::vector<Value> rest;
  for (Value item; next_item(item);) rest.push_back(item);
  length = static_cast<int64_t>(rest.size()) + index0 + 1 + (after ? 1 : 0);
  next_item = iterate(render, render.list(std::move(rest)));
  return *length;
}

namespace {
Value cycle(Render& render, const Value& self, const Arguments& arguments) {
  const auto& items = arguments.positional;
  if (items.empty() || !arguments.named.empty()) render.fail("loop.cycle: want items");
  return items[static_cast<size_t>(self.as_loop().index0) % items.size()];
}
Value changed(Render& render, const Value& self, const Arguments& arguments) {
  if (!arguments.named.empty()) render.fail("loop.changed: want values without names");
  Loop& loop = self.as_loop();
  Value values = render.tuple(arguments.positional);
  const bool differs = !loop.last_changed || !equal(render, *loop.last_changed, values);
  if (differs) loop.last_changed = std::move(values);
  return Value::boolean(differs);
}
}  // namespace

Value Loop::attribute(Render& render, const Value& self, std::string_view name) {
  if (name == "index0") return Value::integer(index0);
  if (name == "index") return Value::integer(index0 + 1);
  if (name == "first") return Value::boolean(index0 == 0);
  if (name == "last") return Value::boolean(!peek());
  if (name == "length") return Value::integer(count(render));
  if (name == "revindex0") return Value::integer(count(render) - index0 - 1);
  if (name == "revindex") return Value::integer(count(render) - index0);
  if (name == "depth0") return Value::integer(depth0);
  if (name == "depth") return Value::integer(depth0 + 1);
  if (name == "previtem")
    return index0 == 0 ? Value::undefined("there is no previous item") : before;
  if (name == "nextitem") return peek() ? *after : Value::undefined("there is no next item");
  if (name == "cycle") return Value::function({"loop.cycle", self, cycle});
  if (name == "changed") return Value::function({"loop.changed", self, changed});
  return Value::undefined(concat("a loop has no '", name, "'"));
}

}  // namespace orthant::jinja
