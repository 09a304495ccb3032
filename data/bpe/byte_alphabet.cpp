// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/byte_alphabet.h"

#include <array>

#include "base/text.h"

namespace orthant {
namespace {

constexpr unsigned kFirstOther = 0x100, kNumOthers = 68;

bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<int, kFirstOther + kNumOthers> bytes;  // by character; -1: stands for none

  Alphabet() {
    bytes.fill(-1);
    unsigned next = kFirstOther;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const unsigned c = stands_for_itself(byte) ? byte : next++;
      bytes[c] = static_cast<int>(byte);
      std::string& text = characters[byte];
      if (c < 0x80) {
        text = static_cast<char>(c);
      } else {
        text = static_cast<char>(0xC0 | (c >> 6));
        text += static_cast<char>(0x80 | (c & 0x3F));
      }
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet made;
  return made;
}

}  // namespace

const std::string& byte_character(unsigned char byte) { return alphabet().characters[byte]; }

std::optional<std::string> bytes_of_token(std::string_view token) {
  std::string text;
  while (!token.empty()) {
    const size_t size = utf8_size(token);
    if (size != 1 && size != 2) return std::nullopt;
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(token[i]); };
    const unsigned c = size == 1 ? byte(0) : (byte(0) & 0x1Fu) << 6 | (byte(1) & 0x3Fu);
    if (c >= alphabet().bytes.size() || alphabet().bytes[c] < 0) return std::nullopt;
    text += static_cast<char>(alphabet().bytes[c]);
    token.remove_prefix(size);
  }
  return text;
}

}  // namespace orthant
