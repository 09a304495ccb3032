// SPDX-License-Identifier: Apache-2.0
#include "base/config/scalar_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/text.h"

namespace orthant {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

template <class T>
std::optional<T> whole(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

// Digits with an optional minus and dots, signs and exponents: something that a person meant as a
// number.
bool looks_numeric(std::string_view text) {
  return !text.empty() && std::any_of(text.begin(), text.end(), is_digit) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return is_digit(c) || std::string_view("+-._eE").find(c) != std::string_view::npos;
         });
}

std::string without(std::string_view text, char dropped) {
  std::string result;
  for (const char c : text) {
    if (c != dropped) result += c;
  }
  return result;
}

}  // namespace

Reading<bool> read_bool(std::string_view text) {
  if (text == "true") return {true, ""};
  if (text == "false") return {false, ""};
  const std::string word = lower(text);
  for (const char* yes : {"true", "yes", "on", "y", "1"}) {
    if (word == yes) return {std::nullopt, "write true"};
  }
  for (const char* no : {"false", "no", "off", "n", "0"}) {
    if (word == no) return {std::nullopt, "write false"};
  }
  return {};
}

Reading<int64_t> read_integer(std::string_view text) {
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  const bool plain = !digits.empty() && std::all_of(digits.begin(), digits.end(), is_digit);
  if (plain && (digits.size() == 1 || digits[0] != '0')) {
    if (const auto value = whole<int64_t>(text)) return {value, ""};
    return {std::nullopt, "too large for 64 bits"};
  }
  if (plain) {
    const size_t first = std::min(digits.find_first_not_of('0'), digits.size() - 1);
    return {std::nullopt,
            concat("no leading zeros: write ",
                   text.starts_with('-') && digits[first] != '0' ? "-" : "", digits.substr(first))};
  }
  if (digits.starts_with("0x") || digits.starts_with("0X")) {
    uint64_t value = 0;
    const char* end = digits.data() + digits.size();
    const auto [at, error] = std::from_chars(digits.data() + 2, end, value, 16);
    if (error == std::errc() && at == end) return {std::nullopt, concat("write ", value)};
    return {};
  }
  if (!looks_numeric(text)) return {};
  std::string bare = without(text, '_');
  if (bare.starts_with('+')) bare.erase(0, 1);
  const auto real = whole<double>(bare);
  if (real && std::floor(*real) == *real && std::abs(*real) < 9e15) {
    return {std::nullopt, concat("write ", static_cast<int64_t>(*real))};
  }
  return {};
}

Reading<double> read_real(std::string_view text) {
  const std::string word = lower(text);
  if (word.find("nan") != std::string::npos || word.find("inf") != std::string::npos) {
    return {std::nullopt, "it must be finite"};
  }
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  const bool octal = digits.size() > 1 && digits[0] == '0' && is_digit(digits[1]);
  if (octal) {
    const size_t first = digits.find_first_not_of('0');
    const bool fraction = first == std::string_view::npos || !is_digit(digits[first]);
    return {std::nullopt,
            concat("no leading zeros: write ", text.starts_with('-') ? "-" : "",
                   digits.substr(fraction ? std::min(first, digits.size()) - 1 : first))};
  }
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc::result_out_of_range && at == end) {
    return {std::nullopt, "outside the range of 64-bit numbers"};
  }
  if (error == std::errc() && at == end) return {value, ""};
  if (!looks_numeric(text)) return {};
  std::string bare = without(text, '_');
  if (bare.starts_with('+')) bare.erase(0, 1);
  if (whole<double>(bare)) return {std::nullopt, concat("write ", bare)};
  return {};
}

bool within(int64_t value, const IntBounds& bounds) {
  return value >= bounds.low && value <= bounds.high;
}

bool within(double value, const RealBounds& bounds) {
  const bool above = bounds.low_open ? value > bounds.low : value >= bounds.low;
  const bool below = bounds.high_open ? value < bounds.high : value <= bounds.high;
  return above && below;
}

std::string wanted(const IntBounds& bounds) {
  const bool low = bounds.low != std::numeric_limits<int64_t>::min();
  const bool high = bounds.high != std::numeric_limits<int64_t>::max();
  if (low && high) return concat("an integer from ", bounds.low, " to ", bounds.high);
  if (low) return concat("an integer >= ", bounds.low);
  if (high) return concat("an integer <= ", bounds.high);
  return "an integer";
}

std::string wanted(const RealBounds& bounds) {
  const bool low = std::isfinite(bounds.low), high = std::isfinite(bounds.high);
  if (low && high && !bounds.low_open && !bounds.high_open) {
    return concat("a number from ", real_text(bounds.low), " to ", real_text(bounds.high));
  }
  std::string text = "a number";
  if (low) text += concat(bounds.low_open ? " > " : " >= ", real_text(bounds.low));
  if (high)
    text += concat(low ? " and" : "", bounds.high_open ? " < " : " <= ", real_text(bounds.high));
  return text;
}

std::string wanted(const TextRule& rule) {
  if (rule.choices.empty()) return rule.required ? "a text that is not empty" : "a text";
  std::string text = "one of ";
  for (size_t i = 0; i < rule.choices.size(); ++i) {
    text += concat(i == 0 ? "" : ", ", rule.choices[i]);
  }
  return text;
}

std::string yaml_scalar(std::string_view text) {
  static constexpr std::array<std::string_view, 10> kReserved = {
      "true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"};
  const std::string word = lower(text);
  const bool reserved = std::find(kReserved.begin(), kReserved.end(), word) != kReserved.end();
  const auto safe = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' ||
           c == '.' || c == '/' || c == '-';
  };
  const bool first = !text.empty() && !is_digit(text[0]) && text[0] != '-' && text[0] != '.';
  const bool path = text.starts_with("./") || text.starts_with("../");
  if (!reserved && (first || path) && std::all_of(text.begin(), text.end(), safe)) {
    return std::string(text);
  }
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      std::array<char, 8> buffer;
      std::snprintf(buffer.data(), buffer.size(), "\\x%02X", byte);
      result += buffer.data();
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string real_text(double value) {
  std::string text = concat(value);  // has exponents like e-04 and e+20
  const size_t e = text.find('e');
  if (e == std::string::npos) return text;
  size_t digits = e + 1;
  if (text[digits] == '-') ++digits;
  while (digits + 1 < text.size() && (text[digits] == '+' || text[digits] == '0')) {
    text.erase(digits, 1);
  }
  return text;
}

namespace {

template <class T, class Text>
std::string list_text(const std::vector<T>& values, const Text& text_of) {
  std::string text = "[";
  for (size_t i = 0; i < values.size(); ++i) text += concat(i == 0 ? "" : ", ", text_of(values[i]));
  return text + "]";
}

}  // namespace

std::string yaml_list(const std::vector<double>& values) { return list_text(values, real_text); }
std::string yaml_list(const std::vector<int64_t>& values) {
  return list_text(values, [](int64_t value) { return concat(value); });
}

}  // namespace orthant
