// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <vector>

namespace orthant {
namespace {

template <class Float>
std::string shortest(Float value) {
  std::array<char, 40> buffer;
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return std::string(buffer.data(), end);
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

std::string valid_utf8(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t at) {
      return at < text.size() ? static_cast<unsigned>(static_cast<unsigned char>(text[at])) : 0u;
    };
    const unsigned lead = byte(i);
    const size_t length = lead < 0x80   ? 1
                          : lead < 0xC2 ? 0
                          : lead < 0xE0 ? 2
                          : lead < 0xF0 ? 3
                          : lead < 0xF5 ? 4
                                        : 0;
    bool valid = length > 0;
    for (size_t j = 1; j < length; ++j) valid = valid && (byte(i + j) & 0xC0) == 0x80;
    // Overlong forms, surrogates, and what lies beyond U+10FFFF.
    if (lead == 0xE0) valid = valid && byte(i + 1) >= 0xA0;
    if (lead == 0xED) valid = valid && byte(i + 1) < 0xA0;
    if (lead == 0xF0) valid = valid && byte(i + 1) >= 0x90;
    if (lead == 0xF4) valid = valid && byte(i + 1) < 0x90;
    if (valid) {
      result += text.substr(i, length);
      i += length;
    } else {
      result += "\xEF\xBF\xBD";
      ++i;
    }
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

std::string nearest_name(std::string_view name,
                         std::initializer_list<std::string_view> candidates) {
  return nearest_name_in(name, candidates);
}

}  // namespace orthant
