// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/literals.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "base/text.h"
#include "data/jinja/unicode.h"

namespace orthant::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
int digit_of(char c) {
  if (is_digit(c)) return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 99;
}

// Bytes of digits of `base` at `at`, with single underscores between them.
size_t digits_at(std::string_view text, size_t at, int base) {
  size_t end = at;
  while (end < text.size()) {
    const size_t next = text[end] == '_' && end > at ? end + 1 : end;
    if (next >= text.size() || digit_of(text[next]) >= base) break;
    end = next + 1;
  }
  return end - at;
}

bool accumulate(std::string_view digits, int base, int64_t& value) {
  value = 0;
  for (const char c : digits) {
    if (c == '_') continue;
    if (__builtin_mul_overflow(value, int64_t{base}, &value) ||
        __builtin_add_overflow(value, int64_t{digit_of(c)}, &value))
      return false;
  }
  return true;
}

std::string without_underscores(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (c != '_') out.push_back(c);
  return out;
}

// `text` is a decimal number with a "." or an exponent, or digits.
double real_of(std::string_view text) {
  const std::string plain = without_underscores(text);
  double value = 0;
  const auto [end, error] = std::from_chars(plain.data(), plain.data() + plain.size(), value);
  if (error == std::errc::result_out_of_range) {  // of which from_chars does not say the side
    const size_t exponent = plain.find_first_of("eE");
    const bool is_small = exponent != std::string::npos && plain[exponent + 1] == '-';
    return is_small ? 0.0 : std::numeric_limits<double>::infinity();
  }
  return value;
}

// Bytes of a float literal's body: digits, fraction, exponent; 0 when it has neither of the last.
size_t float_size(std::string_view text) {
  size_t end = digits_at(text, 0, 10);
  if (end == 0) return 0;
  bool is_float = false;
  if (end + 1 < text.size() && text[end] == '.') {
    if (const size_t digits = digits_at(text, end + 1, 10)) {
      end += 1 + digits;
      is_float = true;
    }
  }
  if (end < text.size() && (text[end] | 0x20) == 'e') {
    const size_t sign = end + 1 < text.size() && (text[end + 1] == '+' || text[end + 1] == '-');
    if (const size_t digits = digits_at(text, end + 1 + sign, 10)) {
      end += 1 + sign + digits;
      is_float = true;
    }
  }
  return is_float ? end : 0;
}

std::string_view stripped(std::string_view text) {
  size_t begin = text.size(), end = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t from = at;
    if (is_space(next_code_point(text, at))) continue;
    begin = std::min(begin, from);
    end = at;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

}  // namespace

NumberText number_at(std::string_view text, bool may_be_float) {
  NumberText number;
  if (const size_t size = may_be_float ? float_size(text) : 0) {
    number.size = size;
    number.is_float = true;
    number.real = real_of(text.substr(0, size));
    return number;
  }
  const char kind = text[0] == '0' && text.size() > 1 ? static_cast<char>(text[1] | 0x20) : ' ';
  const int base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
  if (base != 10) {
    const size_t skip = text.size() > 2 && text[2] == '_' ? 3 : 2;
    if (const size_t digits = digits_at(text, skip, base)) {
      number.size = skip + digits;
      number.fits = accumulate(text.substr(skip, digits), base, number.integer);
      return number;
    }
  }
  number.size = digits_at(text, 0, text[0] == '0' ? 1 : 10);  // "01" is 0, and 1 behind it
  number.fits = accumulate(text.substr(0, number.size), 10, number.integer);
  return number;
}

namespace {

// One escape at `at`, which is behind the backslash; moves behind it.
std::string read_escape(std::string_view text, size_t& at, std::string& out) {
  const char c = text[at++];
  static constexpr std::string_view kNames = "\\'\"abfnrtv\n", kValues = "\\'\"\a\b\f\n\r\t\v";
  if (c == '\n') return {};
  if (const size_t i = kNames.find(c); i != std::string_view::npos) {
    out.push_back(kValues[i]);
    return {};
  }
  char32_t code = 0;
  if (c >= '0' && c <= '7') {
    code = static_cast<char32_t>(c - '0');
    for (int i = 1; i < 3 && at < text.size() && text[at] >= '0' && text[at] <= '7'; ++i)
      code = code * 8 + static_cast<char32_t>(text[at++] - '0');
  } else if (const int size = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0) {
    for (int i = 0; i < size; ++i) {
      if (at >= text.size() || digit_of(text[at]) > 15)
        return concat("escape \\", c, ": want ", size, " hexadecimal digits");
      code = code * 16 + static_cast<char32_t>(digit_of(text[at++]));
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      return concat("escape \\", c, ": no character has this number");
  } else if (c == 'N') {
    return "escape \\N{...} (characters by name) is not built";
  } else {
    out.push_back('\\');
    --at;
    append_utf8(out, next_code_point(text, at));
    return {};
  }
  append_utf8(out, code);
  return {};
}

}  // namespace

Unescaped unescaped(std::string_view text) {
  Unescaped result;
  for (size_t at = 0; at < text.size();) {
    if (text[at] != '\\') {
      result.text.push_back(text[at++]);
      continue;
    }
    const size_t begin = at++;
    result.fault = read_escape(text, at, result.text);
    if (!result.fault.empty()) {
      result.fault_at = begin;
      return result;
    }
  }
  return result;
}

ParseFault parse_int(std::string_view text, int64_t& value) {
  text = stripped(text);
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || digits_at(text, 0, 10) != text.size()) return ParseFault::kMalformed;
  const bool fits = accumulate(text, 10, value);
  if (is_negative) value = -value;
  return fits ? ParseFault::kNone : ParseFault::kTooLarge;
}

std::optional<double> parse_float(std::string_view text) {
  text = stripped(text);
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  std::string word(text);
  for (char& c : word)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  double value = 0;
  if (word == "inf" || word == "infinity") {
    value = std::numeric_limits<double>::infinity();
  } else if (word == "nan") {
    value = std::numeric_limits<double>::quiet_NaN();
  } else {
    std::string number = word;  // with the zeros that Python lets one leave out
    if (number.starts_with('.')) number.insert(0, "0");
    if (const size_t dot = number.find('.'); dot != std::string::npos && dot > 0 &&
                                             is_digit(number[dot - 1]) &&
                                             (dot + 1 == number.size() || number[dot + 1] == 'e'))
      number.insert(dot + 1, "0");
    const size_t digits = digits_at(number, 0, 10);
    if (number.empty() || (float_size(number) != number.size() && digits != number.size()))
      return std::nullopt;
    value = real_of(number);
  }
  return is_negative ? -value : value;
}

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::scientific);
  const std::string text(buffer.data(), end.ptr);
  const size_t e = text.find('e');
  const int exponent = std::atoi(text.c_str() + e + 1);
  std::string sign = text[0] == '-' ? "-" : "", digits;
  for (const char c : text.substr(0, e))
    if (is_digit(c)) digits.push_back(c);
  const int size = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    std::string power = std::to_string(std::abs(exponent));
    if (power.size() < 2) power.insert(0, "0");
    if (size > 1) digits.insert(1, ".");
    return sign + digits + (exponent < 0 ? "e-" : "e+") + power;
  }
  if (exponent < 0)
    return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (size <= exponent + 1)
    return sign + digits + std::string(static_cast<size_t>(exponent + 1 - size), '0') + ".0";
  return sign + digits.insert(static_cast<size_t>(exponent + 1), ".");
}

}  // namespace orthant::jinja
