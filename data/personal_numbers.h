// SPDX-License-Identifier: Apache-2.0
// What personal data are written in: kinds of characters, rows of digits, what may part them, and
// where numbers may begin and end.  For data/personal_*.cpp only.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace orthant {

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool is_word(char c) { return is_digit(c) || is_letter(c) || c == '_'; }
// 0 outside of the text.
constexpr char char_at(std::string_view text, size_t at) { return at < text.size() ? text[at] : 0; }

// The number of digits in the row at `at`; of more than `most` 0.
size_t digits_at(std::string_view text, size_t at, size_t most);

// What may stand between rows of digits: as ' ', '-', '.', '/', or 0.
struct DigitSeparator {
  char kind = 0;
  size_t bytes = 0;
};
DigitSeparator separator_at(std::string_view text, size_t at);

// Whether a number whose rows are parted by `separator` (0: it has one) may begin or end here: not
// where a word, a path or a longer number goes on.
bool may_begin(std::string_view text, size_t at, char separator);
bool may_end(std::string_view text, size_t at, char separator);

// Reads a number group by group.
class DigitGroups {
 public:
  DigitGroups(std::string_view text, size_t at) : text_(text), at_(at) {}
  // The next row of digits of at most so many; false, and nothing is read, where there is none.
  bool read(size_t least, size_t most) {
    const size_t count = digits_at(text_, at_, most);
    if (count < least || count == 0) return false;
    digits += text_.substr(at_, count);
    at_ += count;
    return true;
  }
  // A separator of this kind (0: any but '/'), before digits or '('.
  char skip(char kind) {
    const DigitSeparator apart = separator_at(text_, at_);
    if (apart.kind == 0 || (kind != 0 ? apart.kind != kind : apart.kind == '/')) return 0;
    const char next = char_at(text_, at_ + apart.bytes);
    if (!is_digit(next) && next != '(') return 0;
    at_ += apart.bytes;
    return apart.kind;
  }
  bool take(char c) {
    if (char_at(text_, at_) != c) return false;
    ++at_;
    return true;
  }
  size_t at() const { return at_; }

  std::string digits;

 private:
  std::string_view text_;
  size_t at_;
};

}  // namespace orthant
