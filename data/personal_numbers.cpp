// SPDX-License-Identifier: Apache-2.0
#include "data/personal_numbers.h"

#include <algorithm>

#include "data/personal_data.h"

namespace orthant {

size_t digits_at(std::string_view text, size_t at, size_t most) {
  size_t count = 0;
  while (is_digit(char_at(text, at + count)))
    if (++count > most) return 0;
  return count;
}

DigitSeparator separator_at(std::string_view text, size_t at) {
  const std::string_view rest = text.substr(std::min(at, text.size()));
  if (rest.empty()) return {};
  for (const char c : {' ', '-', '.', '/'})
    if (rest[0] == c) return {c, 1};
  if (rest.starts_with("\xC2\xA0")) return {' ', 2};                         // U+00A0
  for (const char* dash : {"\xE2\x80\x90", "\xE2\x80\x91", "\xE2\x80\x93"})  // U+2010, 2011, 2013
    if (rest.starts_with(dash)) return {'-', 3};
  return {};
}

namespace {

// The one that ends at `at`.
DigitSeparator separator_before(std::string_view text, size_t at) {
  for (const size_t bytes : {size_t{1}, size_t{2}, size_t{3}})
    if (at >= bytes)
      if (const DigitSeparator found = separator_at(text, at - bytes); found.bytes == bytes)
        return found;
  return {};
}

bool number_begins(std::string_view text, size_t at) {
  return is_digit(char_at(text, at)) || marker_begins(text, at);
}
bool number_ends(std::string_view text, size_t at) {
  return at > 0 && (is_digit(text[at - 1]) || marker_ends(text, at));
}

}  // namespace

bool may_begin(std::string_view text, size_t at, char separator) {
  if (at == 0) return true;
  const char before = text[at - 1];
  if (is_word(before) || marker_ends(text, at)) return false;
  if (std::string_view("+$#*\\@").find(before) != std::string_view::npos) return false;
  const DigitSeparator apart = separator_before(text, at);
  if (apart.kind == ' ') return separator != ' ' || !number_ends(text, at - apart.bytes);
  return apart.kind == 0;
}
bool may_end(std::string_view text, size_t at, char separator) {
  const char next = char_at(text, at);
  if (is_word(next) || next == '@') return next == 'x' && is_digit(char_at(text, at + 1));
  const DigitSeparator apart = separator_at(text, at);
  if (apart.kind == ' ') return separator != ' ' || !number_begins(text, at + apart.bytes);
  return apart.kind == 0 || !number_begins(text, at + apart.bytes);
}

}  // namespace orthant
