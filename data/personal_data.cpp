// SPDX-License-Identifier: Apache-2.0
#include "data/personal_data.h"

#include <algorithm>
#include <array>

#include "data/personal_numbers.h"

namespace orthant {
namespace {

constexpr size_t kMostLocal = 64, kMostHost = 255, kMostLabel = 63, kMostLastLabel = 24;

constexpr std::array<bool, 256> kAnchors = [] {
  std::array<bool, 256> anchors{};
  for (char c = '0'; c <= '9'; ++c) anchors[static_cast<unsigned char>(c)] = true;
  anchors['@'] = true;
  return anchors;
}();

constexpr bool is_local(char c) {
  return is_word(c) || c == '.' || c == '%' || c == '+' || c == '-';
}

// Where the part before '@' begins; `at` itself where there is none.
size_t local_begin(std::string_view text, size_t at, size_t floor) {
  size_t begin = at;
  while (begin > floor && is_local(text[begin - 1])) {
    --begin;
    if (at - begin > kMostLocal) return at;
    if (text[begin] == '.' && text[begin + 1] == '.') {  // "see...a@b.org"
      begin += 2;
      break;
    }
  }
  while (begin < at && !is_word(text[begin])) ++begin;
  return begin;
}

// Behind the longest host name at `begin`; `begin` where there is none.
size_t host_end(std::string_view text, size_t begin) {
  size_t end = begin, label = begin, numeric_labels = 0;
  for (size_t labels = 0;; ++labels) {
    size_t at = label;
    bool letters = true, digits = true;
    while (at < text.size() && (is_digit(text[at]) || is_letter(text[at]) || text[at] == '-')) {
      letters = letters && is_letter(text[at]);
      digits = digits && is_digit(text[at]);
      if (++at - label > kMostLabel || at - begin > kMostHost) return begin;
    }
    if (at == label || text[label] == '-' || text[at - 1] == '-') break;
    if (labels > 0 && letters && at - label >= 2 && at - label <= kMostLastLabel) end = at;
    numeric_labels += digits && labels < 2;
    if (char_at(text, at) != '.') break;
    label = at + 1;
  }
  return numeric_labels == 2 ? begin : end;  // a package's version
}

std::optional<PersonalMatch> number_at(std::string_view text, size_t at, size_t floor) {
  if (const auto card = card_at(text, at)) return card;
  return phone_at(text, at, floor);
}

// A number, or the address that it runs into: of digits in both, the address has them.
std::optional<PersonalMatch> around_number(std::string_view text, size_t at, size_t floor) {
  const auto number = number_at(text, at, floor);
  if (!number) return std::nullopt;
  size_t behind = number->end;
  while (behind - number->end < kMostLocal && is_local(char_at(text, behind))) ++behind;
  if (char_at(text, behind) != '@') return number;
  const auto email = email_around(text, behind, floor);
  if (!email || email->begin >= number->end) return number;
  const auto rest = number_at(text.substr(0, std::max(email->begin, at + 1)), at, floor);
  return rest && rest->end <= email->begin ? rest : email;
}

}  // namespace

std::string_view marker_of(PersonalData kind) {
  static constexpr std::array<std::string_view, kNumPersonalData> kMarkers = {"<EMAIL>", "<PHONE>",
                                                                              "<CARD>"};
  return kMarkers[static_cast<size_t>(kind)];
}

bool marker_begins(std::string_view text, size_t at) {
  if (char_at(text, at) != '<') return false;
  for (size_t kind = 0; kind < kNumPersonalData; ++kind)
    if (text.substr(at).starts_with(marker_of(static_cast<PersonalData>(kind)))) return true;
  return false;
}

bool marker_ends(std::string_view text, size_t at) {
  if (at == 0 || text[at - 1] != '>') return false;
  for (size_t kind = 0; kind < kNumPersonalData; ++kind)
    if (text.substr(0, at).ends_with(marker_of(static_cast<PersonalData>(kind)))) return true;
  return false;
}

std::optional<PersonalMatch> email_around(std::string_view text, size_t at, size_t floor) {
  const size_t begin = local_begin(text, at, floor);
  if (begin == at || text[at - 1] == '.' || marker_ends(text, begin)) return std::nullopt;
  if (text.substr(begin, at - begin) == "git") return std::nullopt;  // git@host:path
  const size_t end = host_end(text, at + 1);
  const char next = char_at(text, end);
  if (end == at + 1 || next == '_' || next == '@' || next == '(' || next == '[')
    return std::nullopt;
  return PersonalMatch{PersonalData::kEmail, begin, end};
}

std::optional<PersonalMatch> find_personal_data(std::string_view text, size_t from, size_t until,
                                                size_t floor) {
  for (size_t at = from; at < until; ++at) {
    if (!kAnchors[static_cast<unsigned char>(text[at])]) continue;
    if (text[at] == '@') {
      if (const auto email = email_around(text, at, floor)) return email;
      continue;
    }
    if (at > 0 && is_digit(text[at - 1])) continue;  // the row was looked at
    if (const auto match = around_number(text, at, floor)) return match;
  }
  return std::nullopt;
}

}  // namespace orthant
