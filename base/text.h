// SPDX-License-Identifier: Apache-2.0
// Joins pieces of any printable type into one string, without pulling iostreams into every header.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace orthant {

// One printable value.  Doubles print with as many digits as are needed to read back the same
// value.
class Piece {
 public:
  Piece(std::string_view text) : text_(text) {}
  Piece(const std::string& text) : text_(text) {}
  Piece(const char* text) : text_(text) {}
  Piece(char c) : text_(1, c) {}
  Piece(bool value) : text_(value ? "true" : "false") {}
  template <class Int>
  requires(std::is_integral_v<Int> && !std::is_same_v<Int, bool> && !std::is_same_v<Int, char>)
      Piece(Int value)
      : text_(std::to_string(value)) {}
  Piece(double value);
  Piece(float value);
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string join(std::initializer_list<Piece> pieces);

template <class... Parts>
std::string concat(const Parts&... parts) {
  return join({Piece(parts)...});
}

// "1.50 GiB", "12.0 KiB", "17 B".
std::string human_bytes(double bytes);

// Bytes of the UTF-8 character at the beginning of the text; 0 when there is none.
size_t utf8_size(std::string_view text);
// Bytes at the beginning of the text that are UTF-8.
size_t utf8_prefix(std::string_view text);
// Bytes of the text without a UTF-8 character at its end that lacks its last bytes.
size_t whole_characters(std::string_view text);
// The text with every byte that is not part of valid UTF-8 replaced by U+FFFD.
std::string valid_utf8(std::string_view text);

// What a parser of JSON says is wrong, without the tag before it, cut short and in plain ASCII: it
// quotes the input, which may be anything.
std::string plain_reason(std::string text);

// The candidate with the smallest edit distance to `name`, or "" when none is near enough to be a
// typing error.  One with another number is none: who writes fp16 does not mean fp64.
std::string nearest_name(std::string_view name, std::initializer_list<std::string_view> candidates);
template <class Range>
std::string nearest_name_in(std::string_view name, const Range& candidates);
int edit_distance(std::string_view a, std::string_view b);
// Alike but for their numbers.
bool differ_in_number(std::string_view a, std::string_view b);

template <class Range>
std::string nearest_name_in(std::string_view name, const Range& candidates) {
  std::string best;
  int best_distance = static_cast<int>(name.size()) / 3 + 2;
  for (const auto& candidate : candidates) {
    const int distance = edit_distance(name, candidate);
    if (distance < best_distance && !differ_in_number(name, candidate)) {
      best_distance = distance;
      best = std::string(candidate);
    }
  }
  return best;
}

}  // namespace orthant
