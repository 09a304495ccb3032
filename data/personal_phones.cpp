// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "data/personal_data.h"
#include "data/personal_numbers.h"

namespace orthant {
namespace {

// +CC, then groups of digits, some of them in brackets.  `at`: behind '+'.
std::optional<size_t> international_end(std::string_view text, size_t at, bool bracket) {
  constexpr size_t kLeast = 9, kMost = 15, kMostInGroups = 14, kNorthAmerica = 11;
  DigitGroups groups(text, at);
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
  DigitGroups groups(text, at);
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
  DigitGroups groups(text, at);
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
