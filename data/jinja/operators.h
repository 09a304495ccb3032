// SPDX-License-Identifier: Apache-2.0
// What Python's operators do with values.  Error(kData) where Python raises, and where what Python
// would give is not built: integers beyond 64 bits, complex numbers.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "data/jinja/value.h"

namespace orthant::jinja {

class Render;

bool truth(Render& render, const Value& value);
bool equal(Render& render, const Value& a, const Value& b);
// op: "<", "<=", ">", ">=".
bool ordered(Render& render, std::string_view op, const Value& a, const Value& b);
bool contains(Render& render, const Value& container, const Value& item);
// op: + - * / // % **
Value binary(Render& render, std::string_view op, const Value& a, const Value& b);
Value unary(Render& render, std::string_view op, const Value& value);

bool is_hashable(const Value& value);
const Value* find_key(Render& render, const Value& dict, const Value& key);
// Items in order, of a key that is there already the last value; Error on a key that has no hash.
Value make_dict(Render& render, std::vector<std::pair<Value, Value>> items);

// object.name and object[key], as Jinja looks them up: undefined where there is none.
Value attribute(Render& render, const Value& object, std::string_view name);
Value item(Render& render, const Value& object, const Value& key);
// object[start:stop:step]; what was left out is none.
Value slice(Render& render, const Value& object, const Value& start, const Value& stop,
            const Value& step);

std::optional<int64_t> length(Render& render, const Value& value);  // nullopt: it has none
bool is_iterable(const Value& value);
// The items one by one; Error where the value has none.
std::function<bool(Value&)> iterate(Render& render, const Value& value);
std::vector<Value> all_items(Render& render, const Value& value);

}  // namespace orthant::jinja
