// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <vector>

namespace orthant {
namespace {

template <class Float>
std::string shortest(Float value) {
  std::array<char, 40> buffer;
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return std::string(buffer.data(), end);
}

// Bytes of a UTF-8 character by its first one; 0 for a byte that begins none.
size_t utf8_length(unsigned lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead >= 0xF5) return 0;
  return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

}  // namespace

Piece::Piece(double value) : text_(shortest(value)) {}
Piece::Piece(float value) : text_(shortest(value)) {}

std::string join(std::initializer_list<Piece> pieces) {
  std::string result;
  for (const Piece& piece : pieces) result += piece.text();
  return result;
}

std::string human_bytes(double bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  std::array<char, 40> buffer;
  std::snprintf(buffer.data(), buffer.size(), unit == 0 ? "%.0f %s" : "%.2f %s", bytes,
                kUnits[unit]);
  return buffer.data();
}

size_t utf8_size(std::string_view text) {
  const auto byte = [&](size_t at) {
    return at < text.size() ? static_cast<unsigned>(static_cast<unsigned char>(text[at])) : 0u;
  };
  if (text.empty()) return 0;
  const unsigned lead = byte(0);
  const size_t length = utf8_length(lead);
  bool valid = length > 0;
  for (size_t j = 1; j < length; ++j) valid = valid && (byte(j) & 0xC0) == 0x80;
  // Overlong forms, surrogates, and what lies beyond U+10FFFF.
  if (lead == 0xE0) valid = valid && byte(1) >= 0xA0;
  if (lead == 0xED) valid = valid && byte(1) < 0xA0;
  if (lead == 0xF0) valid = valid && byte(1) >= 0x90;
  if (lead == 0xF4) valid = valid && byte(1) < 0x90;
  return valid ? length : 0;
}

size_t utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    uint64_t eight = 0;
    if (at + sizeof eight <= text.size()) {
      std::memcpy(&eight, text.data() + at, sizeof eight);
      if ((eight & 0x8080808080808080u) == 0) {  // ASCII
        at += sizeof eight;
        continue;
      }
    }
    const size_t size = utf8_size(text.substr(at, 4));
    if (size == 0) return at;
    at += size;
  }
  return at;
}

size_t whole_characters(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const unsigned char c = static_cast<unsigned char>(text[text.size() - back]);
    if ((c & 0xC0) == 0x80) continue;
    return utf8_length(c) > back ? text.size() - back : text.size();
  }
  return text.size();
}

std::string plain_reason(std::string text) {
  if (const size_t tag = text.find("] "); text.starts_with('[') && tag != std::string::npos)
    text.erase(0, tag + 2);
  constexpr size_t kMost = 160;
  if (text.size() > kMost) text.replace(kMost, std::string::npos, "...");
  for (char& c : text)
    if (c < ' ' || c > '~') c = '?';
  return text;
}

std::string valid_utf8(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t size = utf8_size(text);
    result += size > 0 ? text.substr(0, size) : "\xEF\xBF\xBD";
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  return result;
}

int edit_distance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substitute, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

bool differ_in_number(std::string_view a, std::string_view b) {
  const auto split = [](std::string_view text) {
    std::pair<std::string, std::string> letters_digits;
    for (const char c : text)
      (c >= '0' && c <= '9' ? letters_digits.second : letters_digits.first) += c;
    std::sort(letters_digits.second.begin(), letters_digits.second.end());
    return letters_digits;
  };
  const auto [letters, digits] = split(a);
  const auto [other_letters, other_digits] = split(b);
  return letters == other_letters && digits != other_digits && !digits.empty() &&
         !other_digits.empty();
}

std::string nearest_name(std::string_view name,
                         std::initializer_list<std::string_view> candidates) {
  return nearest_name_in(name, candidates);
}

}  // namespace orthant
