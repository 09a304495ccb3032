// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/unicode.h"

#include <locale.h>
#include <wctype.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace orthant::jinja {
namespace {

// Letters of all scripts from the C library, whatever the program's own locale is.
locale_t unicode_locale() {
  static const locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  ORTHANT_CHECK(locale != nullptr, kData, "chat template: want the locale C.UTF-8 for letters ",
                "outside ASCII, but this system has none");
  return locale;
}

wint_t wide(char32_t code) { return static_cast<wint_t>(code); }

struct Span {
  char32_t first, last;
};
template <size_t N>
bool is_in(const std::array<Span, N>& spans, char32_t code) {
  return std::any_of(spans.begin(), spans.end(),
                     [&](Span s) { return s.first <= code && code <= s.last; });
}

// Characters that Unicode's SpecialCasing.txt maps to several, by the direction in which it does.
constexpr std::array<Span, 15> kSpecialUpper = {{
    {0xDF, 0xDF},
    {0x149, 0x149},
    {0x1F0, 0x1F0},
    {0x345, 0x345},
    {0x390, 0x390},
    {0x3B0, 0x3B0},
    {0x587, 0x587},
    {0x1E96, 0x1E9A},
    {0x1F50, 0x1F56},
    {0x1F80, 0x1FAF},
    {0x1FB2, 0x1FC7},
    {0x1FCC, 0x1FD7},
    {0x1FE2, 0x1FE7},
    {0x1FF2, 0x1FFC},
    {0xFB00, 0xFB17},
}};
constexpr std::array<Span, 2> kSpecialLower = {
    {{0x130, 0x130}, {0x3A3, 0x3A3}}};  // dot, final sigma
// Whose title case is not their upper case: digraphs, Georgian.
constexpr std::array<Span, 4> kSpecialTitle = {
    {{0x1C4, 0x1CC}, {0x1F1, 0x1F3}, {0x10D0, 0x10FF}, {0x1C90, 0x1CBF}}};
bool is_special_upper(char32_t code) { return code >= 0x80 && is_in(kSpecialUpper, code); }
bool is_special_lower(char32_t code) { return code >= 0x80 && is_in(kSpecialLower, code); }
bool is_special_title(char32_t code) {
  return is_special_upper(code) || is_special_lower(code) ||
         (code >= 0x80 && is_in(kSpecialTitle, code));
}

char32_t upper_of(char32_t code) {
  if (code < 0x80) return code >= 'a' && code <= 'z' ? code - 32 : code;
  return static_cast<char32_t>(towupper_l(wide(code), unicode_locale()));
}
char32_t lower_of(char32_t code) {
  if (code < 0x80) return code >= 'A' && code <= 'Z' ? code + 32 : code;
  return static_cast<char32_t>(towlower_l(wide(code), unicode_locale()));
}
bool is_cased(char32_t code) { return upper_of(code) != code || lower_of(code) != code; }

// A letter that may have a case or none, for all that its mappings say.
bool is_caseless_letter(char32_t code) {
  return code >= 0x80 && !is_cased(code) && iswalpha_l(wide(code), unicode_locale()) != 0;
}

template <class Map>
std::optional<std::string> mapped(std::string_view text, bool (*is_special)(char32_t), Map map) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t code = next_code_point(text, at);
    if (is_special(code)) return std::nullopt;
    append_utf8(out, map(code));
  }
  return out;
}

}  // namespace

bool whole_text_is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t size = utf8_size(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}
size_t num_code_points(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

char32_t next_code_point(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  const size_t size = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  char32_t code = size == 1 ? first : first & (0xFFu >> (size + 1));
  for (size_t i = 1; i < size; ++i) code = code << 6 | (byte(at + i) & 0x3Fu);
  at += size;
  return code;
}

std::u32string code_points(std::string_view text) {
  std::u32string codes;
  codes.reserve(text.size());
  for (size_t at = 0; at < text.size();) codes.push_back(next_code_point(text, at));
  return codes;
}
std::string utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t code : text) append_utf8(out, code);
  return out;
}
void append_utf8(std::string& text, char32_t code) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xE0 | code >> 12);
    } else {
      put(0xF0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3F));
    }
    put(0x80 | (code >> 6 & 0x3F));
  }
  put(0x80 | (code & 0x3F));
}

void append_hex(std::string& text, const char* prefix, char32_t code, int digits) {
  text += prefix;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
    text.push_back("0123456789abcdef"[code >> shift & 15]);
}

size_t byte_offset(std::string_view text, size_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) next_code_point(text, at);
  return at;
}

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}
bool is_line_break(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}
bool is_printable(char32_t c) {
  if (c < 0x7F) return c >= ' ';
  // What the C library prints and Python escapes: format characters, private use, other spaces.
  static constexpr std::array<Span, 16> kEscaped = {{{0x7F, 0xA0},
                                                     {0xAD, 0xAD},
                                                     {0x600, 0x605},
                                                     {0x61C, 0x61C},
                                                     {0x6DD, 0x6DD},
                                                     {0x70F, 0x70F},
                                                     {0x890, 0x891},
                                                     {0x8E2, 0x8E2},
                                                     {0x180E, 0x180E},
                                                     {0x2000, 0x200F},
                                                     {0x2028, 0x202F},
                                                     {0x205F, 0x206F},
                                                     {0xE000, 0xF8FF},
                                                     {0xFEFF, 0xFEFF},
                                                     {0xFFF9, 0xFFFB},
                                                     {0xE0000, 0x10FFFF}}};
  static constexpr std::array<Span, 8> kMoreEscaped = {{{0x1680, 0x1680},
                                                        {0x3000, 0x3000},
                                                        {0x110BD, 0x110BD},
                                                        {0x110CD, 0x110CD},
                                                        {0x13430, 0x13438},
                                                        {0x1BCA0, 0x1BCA3},
                                                        {0x1D173, 0x1D17A},
                                                        {0xD800, 0xDFFF}}};
  if (c >= 0xE0100 && c <= 0xE01EF) return true;  // variation selectors
  return !is_in(kEscaped, c) && !is_in(kMoreEscaped, c) &&
         iswprint_l(wide(c), unicode_locale()) != 0;
}
std::optional<bool> is_word(char32_t c) {
  if (c < 0x80) return c == '_' || (c >= '0' && c <= '9') || upper_of(c) != lower_of(c);
  if (is_cased(c)) return true;
  const bool is_punctuation = is_space(c) || (c >= 0x2010 && c <= 0x2027);
  return is_punctuation ? std::optional<bool>(false) : std::nullopt;
}

std::optional<std::string> upper(std::string_view text) {
  return mapped(text, is_special_upper, upper_of);
}
std::optional<std::string> lower(std::string_view text) {
  return mapped(text, is_special_lower, lower_of);
}
std::optional<std::string> title(std::string_view text) {
  bool inside = false;  // of a run of letters
  const auto is_refused = [](char32_t code) {
    return is_special_title(code) || is_caseless_letter(code);
  };
  return mapped(text, is_refused, [&](char32_t code) {
    const char32_t out = inside ? lower_of(code) : upper_of(code);
    inside = is_cased(code);
    return out;
  });
}
std::optional<std::string> capitalize(std::string_view text) {
  bool is_first = true;
  return mapped(text, is_special_title, [&](char32_t code) {
    const char32_t out = is_first ? upper_of(code) : lower_of(code);
    is_first = false;
    return out;
  });
}

namespace {
// Letters of one case and none of the other; what has no case does not count.
std::optional<bool> has_one_case(std::string_view text, char32_t (*to_other)(char32_t),
                                 char32_t (*to_this)(char32_t)) {
  bool found = false, wrong = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t code = next_code_point(text, at);
    if (is_special_title(code) || is_caseless_letter(code)) return std::nullopt;
    if (to_this(code) != code) wrong = true;
    if (to_other(code) != code) found = true;
  }
  return found && !wrong;
}
}  // namespace

std::optional<bool> is_lower(std::string_view text) {
  return has_one_case(text, upper_of, lower_of);
}
std::optional<bool> is_upper(std::string_view text) {
  return has_one_case(text, lower_of, upper_of);
}

}  // namespace orthant::jinja
