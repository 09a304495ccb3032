// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <string>

#include "data/personal_data.h"
#include "data/personal_numbers.h"

namespace orthant {
namespace {

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
      {2221, 2720, 16, 16},  // Mastercard
      {5100, 5599, 16, 16},  // the same
      {3400, 3499, 15, 15},  // American Express
      {3700, 3799, 15, 15},  // the same
      {3000, 3059, 14, 16},  // Diners Club
      {3600, 3699, 14, 16},  // the same
      {3800, 3999, 14, 16},  // the same
      {3528, 3589, 16, 19},  // JCB
      {6011, 6011, 16, 19},  // Discover
      {6440, 6599, 16, 19},  // the same
      {6200, 6299, 16, 19},  // UnionPay
      {5000, 5099, 13, 19},  // Maestro, also what follows
      {5600, 5899, 13, 19},
      {6304, 6304, 13, 19},
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

// DigitGroups that cards are printed in.
bool are_card_groups(const std::string& sizes) {
  static constexpr std::array<std::string_view, 7> kGroups = {"4444",  "4441", "44441", "44442",
                                                              "44443", "465",  "464"};
  return std::find(kGroups.begin(), kGroups.end(), sizes) != kGroups.end();
}

}  // namespace

std::optional<PersonalMatch> card_at(std::string_view text, size_t at) {
  constexpr size_t kMost = 19;
  if (text[at] < '2' || text[at] > '6') return std::nullopt;
  DigitGroups groups(text, at);
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

}  // namespace orthant
