// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/text_operations.h"

#include "data/jinja/render.h"
#include "data/jinja/unicode.h"

namespace orthant::jinja {

std::string_view strip(std::string_view text, std::optional<std::string_view> chars, Side side) {
  const std::u32string set = chars ? code_points(*chars) : std::u32string();
  const auto goes = [&](char32_t code) {
    return chars ? set.find(code) != std::u32string::npos : is_space(code);
  };
  size_t begin = 0, end = text.size();
  if (side != Side::kRight)
    for (size_t next = 0; begin < end; begin = next)
      if (!goes(next_code_point(text, next))) break;
  while (side != Side::kLeft && end > begin) {
    size_t last = end - 1;
    while ((static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    size_t at = last;
    if (!goes(next_code_point(text, at))) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

std::string replace(Render& render, std::string_view text, std::string_view old,
                    std::string_view by, int64_t count) {
  std::string out;
  const auto put = [&](std::string_view piece) {
    render.charge(piece.size());
    out += piece;
  };
  size_t at = 0;
  if (old.empty()) {  // between all characters, and at both ends
    while (count != 0) {
      put(by);
      --count;
      if (at >= text.size()) return out;
      const size_t begin = at;
      next_code_point(text, at);
      put(text.substr(begin, at - begin));
    }
  }
  while (count != 0 && !old.empty()) {
    const size_t found = text.find(old, at);
    if (found == std::string_view::npos) break;
    put(text.substr(at, found - at));
    put(by);
    at = found + old.size();
    --count;
  }
  put(text.substr(at));
  return out;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keeps_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at;
    const char32_t code = next_code_point(text, at);
    if (!is_line_break(code)) continue;
    if (code == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(begin, (keeps_ends ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string with_case(Render& render, std::string_view text, Case which) {
  const auto mapped = which == Case::kUpper   ? upper(text)
                      : which == Case::kLower ? lower(text)
                      : which == Case::kTitle ? title(text)
                                              : capitalize(text);
  if (!mapped)
    render.fail(
        "the case of a text with letters that Unicode maps to several letters, or by their "
        "place in the word, is not built");
  return *mapped;
}

}  // namespace orthant::jinja
