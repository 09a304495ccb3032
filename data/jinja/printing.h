// SPDX-License-Identifier: Apache-2.0
// Values as texts: Python's str and repr, json.dumps, and HTML escapes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "data/jinja/value.h"

namespace orthant::jinja {

class Render;

// Error(kData) for what Python prints with an address: functions, iterators, namespaces.
std::string str(Render& render, const Value& value);
std::string repr(Render& render, const Value& value);
std::string repr_excerpt(Render& render, const Value& value);  // for messages, cut short

struct JsonFormat {
  std::optional<std::string> indent;  // of one level; none: in one line
  std::string item_separator = ", ", key_separator = ": ";
  bool ensure_ascii = false, sort_keys = false;
};
// json.dumps.  Error(kData) on values and keys that JSON has not.
std::string to_json(Render& render, const Value& value, const JsonFormat& format);

std::string html_escaped(std::string_view text);

}  // namespace orthant::jinja
