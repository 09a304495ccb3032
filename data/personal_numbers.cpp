// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <string>

#include "data/personal_data.h"

namespace orthant {
namespace {

// A row of digits, from a position on: of more than `most` digits none.
size_t digits_at(std::string_view text, size_t at, size_t most) {
  size_t count = 0;
  while (is_digit(char_at(text, at + count)))
    if (++count > most) return 0;
  return count;
}

// What may stand between groups of digits: as ' ', '-', '.', '/', or 0.
struct Separator {
  char kind = 0;
  size_t bytes = 0;
};
Separator separator_at(std::string_view text, size_t at) {
  const std::string_view rest = text.substr(std::min(at, text.size()));
  if (rest.empty()) return {};
  for (const char c : {' ', '-', '.', '/'})
    if (rest[0] == c) return {c, 1};
  if (rest.starts_with("\xC2\xA0")) return {' ', 2};                         // U+00A0
  for (const char* dash : {"\xE2\x80\x90", "\xE2\x80\x91", "\xE2\x80\x93"})  // U+2010, 2011, 2013
    if (rest.starts_with(dash)) return {'-', 3};
  return {};
}
// The one that ends at `at`.
Separator separator_before(std::string_view text, size_t at) {
  for (const size_t bytes : {size_t{1}, size_t{2}, size_t{3}})
    if (at >= bytes)
      if (const Separator found = separator_at(text, at - bytes); found.bytes == bytes)
        return found;
  return {};
}

bool number_begins(std::string_view text, size_t at) {
  return is_digit(char_at(text, at)) || marker_begins(text, at);
}
bool number_ends(std::string_view text, size_t at) {
  return at > 0 && (is_digit(text[at - 1]) || marker_ends(text, at));
}

// Whether a number whose groups stand apart by `separator` (0: it has one) may begin here, or goes
// on to the left: a word, a path, a longer number.
bool may_begin(std::string_view text, size_t at, char separator) {
  if (at == 0) return true;
  const char before = text[at - 1];
  if (is_word(before) || marker_ends(text, at)) return false;
  if (std::string_view("+$#*\\@").find(before) != std::string_view::npos) return false;
  const Separator apart = separator_before(text, at);
  if (apart.kind == ' ') return separator != ' ' || !number_ends(text, at - apart.bytes);
  return apart.kind == 0;
}
bool may_end(std::string_view text, size_t at, char separator) {
  const char next = char_at(text, at);
  if (is_word(next) || next == '@') return next == 'x' && is_digit(char_at(text, at + 1));
  const Separator apart = separator_at(text, at);
  if (apart.kind == ' ') return separator != ' ' || !number_begins(text, at + apart.bytes);
  return apart.kind == 0 || !number_begins(text, at + apart.bytes);
}

bool passes_luhn(std::string_view digits) {
  int sum = 0;
  bool doubled = false;
  for (size_t i = digits.size(); i-- > 0; doubled = !doubled) {
    const int digit = digits[i] - '0';
    sum += !doubled ? digit : digit < 5 ? 2 * digit : 2 * digit - 9;
  }
  return sum % 10 == 0;
}

// Issuers by ISO/IEC 7812, with the lengths that they use: [first, last] of the first four digits.
bool is_issued(std::string_view digits) {
  struct Range {
    int first, last;
    size_t shortest, longest;
  };
  static constexpr std::array<Range, 17> kRanges = {{
      {4000, 4999, 13, 19},  // Visa: 13, 16, 19
      {2221, 2720, 16, 16},
      {5100, 5599, 16, 16},  // Mastercard
      {3400, 3499, 15, 15},
      {3700, 3799, 15, 15},  // American Express
      {3000, 3059, 14, 16},
      {3600, 3699, 14, 16},
      {3800, 3999, 14, 16},  // Diners Club
      {3528, 3589, 16, 19},  // JCB
      {6011, 6011, 16, 19},
      {6440, 6599, 16, 19},  // Discover
      {6200, 6299, 16, 19},  // UnionPay
      {5000, 5099, 13, 19},
      {5600, 5899, 13, 19},
      {6304, 6304, 13, 19},  // Maestro
      {6759, 6759, 13, 19},
      {6761, 6763, 13, 19},
  }};
  const int head = std::stoi(std::string(digits.substr(0, 4)));
  const size_t size = digits.size();
  if (digits[0] == '4' && size != 13 && size != 16 && size != 19) return false;
  return std::any_of(kRanges.begin(), kRanges.end(), [&](const Range& range) {
    return head >= range.first && head <= range.last && size >= range.shortest &&
           size <= range.longest;
  });
}

bool is_card(std::string_view digits) {
  return digits.size() >= 13 && digits.size() <= 19 && is_issued(digits) && passes_luhn(digits);
}

// Groups that cards are printed in.
bool are_card_groups(const std::string& sizes) {
  static constexpr std::array<std::string_view, 7> kGroups = {"4444",  "4441", "44441", "44442",
                                                              "44443", "465",  "464"};
  return std::find(kGroups.begin(), kGroups.end(), sizes) != kGroups.end();
}

// Reads a number group by group.
class Groups {
 public:
  Groups(std::string_view text, size_t at) : text_(text), at_(at) {}
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
    const Separator apart = separator_at(text_, at_);
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

// +CC, then groups of digits, some of them in brackets.  `at`: behind '+'.
std::optional<size_t> international_end(std::string_view text, size_t at, bool bracket) {
  constexpr size_t kLeast = 9, kMost = 15, kMostInGroups = 14, kNorthAmerica = 11;
  Groups groups(text, at);
  if (char_at(text, at) == '0' || !groups.read(1, kMost)) return std::nullopt;
  const size_t first = groups.digits.size();
  if (bracket && !groups.take(')')) return std::nullopt;
  const bool one = groups.digits[0] == '1';
  if (first > 3 && (first < kLeast || bracket)) return std::nullopt;
  if (one && first != 1 && first != kNorthAmerica) return std::nullopt;
  size_t end = groups.at();
  while (first <= 3 && groups.digits.size() < (one ? kNorthAmerica : kMostInGroups)) {
    const char kind = groups.skip('/') ? '/' : groups.skip(0);
    const bool inside = groups.take('(');
    const size_t before = groups.digits.size();
    if ((kind == 0 && !inside && char_at(text, groups.at() - 1) != ')') ||
        !groups.read(1, (one ? kNorthAmerica : kMostInGroups) - before) ||
        groups.digits.substr(before) == "000" || (inside && !groups.take(')')))
      break;
    // Behind groups with spaces may stand another number.
    if (may_end(text, groups.at(), 0)) end = groups.at();
  }
  const std::string_view whole = text.substr(at, end - at);
  const auto count = static_cast<size_t>(std::count_if(whole.begin(), whole.end(), is_digit));
  if (count < kLeast || (one && count != kNorthAmerica)) return std::nullopt;
  if (!may_end(text, end, 0)) return std::nullopt;
  return end;
}

// AAA-BBB-CCCC and its like; `at`: its first digit or bracket.
std::optional<size_t> north_american_end(std::string_view text, size_t at, char& apart) {
  Groups groups(text, at);
  const bool bracket = groups.take('(');
  const char head = char_at(text, groups.at());
  if (head < '2' || head > '9' || !groups.read(3, 3)) return std::nullopt;
  if (bracket) {
    if (!groups.take(')')) return std::nullopt;
    groups.skip(0);
  } else if ((apart = groups.skip(0)) == 0) {
    return std::nullopt;
  }
  if (!groups.read(3, 3)) return std::nullopt;
  const char second = groups.skip(bracket ? 0 : apart);
  if (second == 0 || !groups.read(4, 4)) return std::nullopt;
  apart = second;
  return groups.at();
}

// 0, an area, and groups.  `at`: the 0.
std::optional<size_t> trunk_end(std::string_view text, size_t at, bool bracket, char& apart) {
  Groups groups(text, at);
  if (char_at(text, at + 1) < '1' || char_at(text, at + 1) > '9' || !groups.read(3, 5))
    return std::nullopt;
  if (bracket && !groups.take(')')) return std::nullopt;
  size_t longest = 0;
  for (int group = 0; group < 3; ++group) {
    const size_t before = groups.digits.size();
    const char kind = group == 0 && groups.skip('/') ? '/' : groups.skip(group == 0 ? 0 : apart);
    if ((kind == 0 && !(bracket && group == 0)) || kind == '.' || !groups.read(2, 8)) break;
    if (group == 0) apart = kind == 0 || kind == '/' ? ' ' : kind;
    longest = std::max(longest, groups.digits.size() - before);
  }
  const size_t count = groups.digits.size();
  if (longest < 3 || count < 10 || count > 12) return std::nullopt;
  return groups.at();
}

// Behind the 1 in front of a North American number, and what parts them.
size_t behind_one(std::string_view text, size_t at) {
  return at + 1 + separator_at(text, at + 1).bytes;
}

// `at`: behind '+'.
std::optional<PersonalMatch> international(std::string_view text, size_t at, size_t floor) {
  const bool bracket = at > 1 && text[at - 2] == '(' && at - 2 >= floor;
  for (size_t begin = at - (bracket ? 2 : 1); begin < at; ++begin) {
    const char left = begin == 0 ? 0 : text[begin - 1];
    const bool is_sum = is_word(left) || std::string_view(")]+.").find(left) != std::string::npos;
    if (begin < floor || (left != 0 && is_sum) || marker_ends(text, begin)) continue;
    if (const auto end = international_end(text, at, begin + 2 == at))
      return PersonalMatch{PersonalData::kPhone, begin, *end};
  }
  return std::nullopt;
}

}  // namespace

std::optional<PersonalMatch> card_at(std::string_view text, size_t at) {
  constexpr size_t kMost = 19;
  if (text[at] < '2' || text[at] > '6') return std::nullopt;
  Groups groups(text, at);
  const char begins = at == 0 ? 0 : text[at - 1];
  // "No.4111...": a point behind a letter ends a word.
  const bool is_word_end = begins == '.' && at > 1 && is_letter(text[at - 2]);
  if (!is_word_end && !may_begin(text, at, 0)) return std::nullopt;
  if (!groups.read(4, kMost)) return std::nullopt;
  if (groups.digits.size() > 4) {
    if (!is_card(groups.digits) || !may_end(text, groups.at(), 0)) return std::nullopt;
    return PersonalMatch{PersonalData::kCard, at, groups.at()};
  }
  std::optional<PersonalMatch> longest;
  std::string sizes = "4";
  char apart = 0;
  while (sizes.size() < 5) {
    const char kind = groups.skip(apart);
    const size_t before = groups.digits.size();
    if ((kind != ' ' && kind != '-') || !groups.read(1, 6)) break;
    apart = kind;
    sizes += static_cast<char>('0' + groups.digits.size() - before);
    if (are_card_groups(sizes) && is_card(groups.digits) &&
        may_end(text, groups.at(), apart == ' ' ? 0 : apart))
      longest = PersonalMatch{PersonalData::kCard, at, groups.at()};
  }
  return longest;
}

std::optional<PersonalMatch> phone_at(std::string_view text, size_t at, size_t floor) {
  const char before = at == 0 ? 0 : text[at - 1];
  if (before == '+') return international(text, at, floor);
  // With the bracket in front first, then without.
  for (size_t begin = before == '(' && at > floor ? at - 1 : at; begin <= at; ++begin) {
    char apart = 0;
    const auto end = text[at] == '0' ? trunk_end(text, at, begin < at, apart)
                     : text[at] == '1' && begin == at
                         ? north_american_end(text, behind_one(text, at), apart)
                         : north_american_end(text, begin, apart);
    if (end && may_begin(text, begin, apart) && may_end(text, *end, apart))
      return PersonalMatch{PersonalData::kPhone, begin, *end};
  }
  return std::nullopt;
}

}  // namespace orthant
