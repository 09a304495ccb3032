// SPDX-License-Identifier: Apache-2.0
// Strict readings of a scalar's text, and the words for what is wanted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/config/fields.h"

namespace orthant {

// A value, or what to write instead ("" when there is nothing to propose).
template <class T>
struct Reading {
  std::optional<T> value;
  std::string hint;
};

// true or false; "yes", "on", "1", "True" and their like get a hint.
Reading<bool> read_bool(std::string_view text);
// Decimal digits with an optional minus.  "1e3", "1_000", "010", "0x10", "1.0" get a hint.
Reading<int64_t> read_integer(std::string_view text);
// A finite decimal number, with or without exponent.
Reading<double> read_real(std::string_view text);

bool within(int64_t value, const IntBounds& bounds);
bool within(double value, const RealBounds& bounds);

// "an integer >= 1", "a number > 0", "one of cosine, linear".
std::string wanted(const IntBounds& bounds);
std::string wanted(const RealBounds& bounds);
std::string wanted(const TextRule& rule);

// `text` as a YAML scalar: plain where that reads back as this text, otherwise in double quotes.
std::string yaml_scalar(std::string_view text);

// The shortest text that reads back as the same number: "0.1", "3e-4".
std::string real_text(double value);
// "[0.9, 0.95]", "[2, 3]".
std::string yaml_list(const std::vector<double>& values);
std::string yaml_list(const std::vector<int64_t>& values);

}  // namespace orthant
