// SPDX-License-Identifier: Apache-2.0
// Numbers and strings as Python writes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace orthant::jinja {

struct NumberText {
  size_t size = 0;  // bytes of it
  bool is_float = false, fits = true;
  int64_t integer = 0;
  double real = 0;
};
// The number literal at the beginning of the text, which begins with a digit.
NumberText number_at(std::string_view text, bool may_be_float);

struct Unescaped {
  std::string text, fault;  // no fault: ""
  size_t fault_at = 0;
};
// What is between a string literal's quotes, with its escapes resolved.
Unescaped unescaped(std::string_view text);

enum class ParseFault { kNone, kMalformed, kTooLarge };
// Python's int(text) and float(text); integers in base 10.
ParseFault parse_int(std::string_view text, int64_t& value);
std::optional<double> parse_float(std::string_view text);

// repr of a float: the shortest text that reads back the same.
std::string float_repr(double value);

}  // namespace orthant::jinja
