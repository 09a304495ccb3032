// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/white_space.h"

namespace orthant {
namespace {

bool is_white_space(std::string_view c) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(c[i]); };
  if (c.size() == 1) return c[0] == ' ' || (c[0] >= '\t' && c[0] <= '\r');
  if (c.size() == 2) return c == "\xC2\x85" || c == "\xC2\xA0";
  if (c.size() != 3) return false;
  if (c.starts_with("\xE2\x80"))
    return (byte(2) >= 0x80 && byte(2) <= 0x8A) || byte(2) == 0xA8 || byte(2) == 0xA9 ||
           byte(2) == 0xAF;
  return c == "\xE1\x9A\x80" || c == "\xE2\x81\x9F" || c == "\xE3\x80\x80";
}

}  // namespace

size_t leading_white_space(std::string_view text) {
  size_t at = 0;
  for (size_t size = 1; size <= 3 && at + size <= text.size();) {
    if (is_white_space(text.substr(at, size))) {
      at += size;
      size = 1;
    } else {
      ++size;
    }
  }
  return at;
}

size_t trailing_white_space(std::string_view text) {
  size_t end = text.size();
  for (size_t size = 1; size <= 3 && size <= end;) {
    if (is_white_space(text.substr(end - size, size))) {
      end -= size;
      size = 1;
    } else {
      ++size;
    }
  }
  return text.size() - end;
}

}  // namespace orthant
