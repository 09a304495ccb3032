// SPDX-License-Identifier: Apache-2.0
// Finds e-mail addresses, phone numbers and payment-card numbers in text.
//
// What is found, by rules that look at a bounded part of the text around an '@' or a digit, so that
// the time is linear whatever the text is:
//  - an address: 1 to 64 of [A-Za-z0-9._%+-], '@', and a host name with a dot whose last label is
//    letters.  Not git@host, foo@1.2.3-rc.x, a@b.call();
//  - a phone number: +CC with 9 to 15 digits, in groups or not (+49 (0)30 123-4567); the North
//    American AAA-BBB-CCCC, (AAA) BBB-CCCC, with dots or spaces too, 1 in front or not; a trunk 0,
//    10 to 12 digits in groups of which one has three digits (020 7946 0958).  Digits in one row
//    without '+' are no phone number here: they are ids as often;
//  - a card number: 13 to 19 digits that pass the Luhn check, begin and are as long as an issuer's
//    are, in one row or in a card's groups (4-4-4-4, 4-6-5, ...) by spaces or by '-'.
// Digits that are part of a longer word, number or path (hashes, floats, UUIDs, versions, URLs) are
// none of these, and neither is what crosses a line's end.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace orthant {

enum class PersonalData { kEmail, kPhone, kCard };
inline constexpr size_t kNumPersonalData = 3;
// What stands in its place: "<EMAIL>", "<PHONE>", "<CARD>".  BigCode's spelling: short, and nothing
// in it is found itself.
std::string_view marker_of(PersonalData kind);

struct PersonalMatch {
  PersonalData kind;
  size_t begin, end;
};

// No match is longer, and none depends on more text before or behind it.
inline constexpr size_t kPersonalBefore = 128, kPersonalBehind = 512;

// The first match whose '@' or first digit is in [from, until) and that begins at or behind
// `floor`, the end of the one before.
std::optional<PersonalMatch> find_personal_data(std::string_view text, size_t from, size_t until,
                                                size_t floor);

// Its parts.  Around the '@' at `at`.
std::optional<PersonalMatch> email_around(std::string_view text, size_t at, size_t floor);
// Of the row of digits that begins at `at`.
std::optional<PersonalMatch> card_at(std::string_view text, size_t at);
std::optional<PersonalMatch> phone_at(std::string_view text, size_t at, size_t floor);

// Whether a marker begins, or ends, at `at`.
bool marker_begins(std::string_view text, size_t at);
bool marker_ends(std::string_view text, size_t at);

}  // namespace orthant
