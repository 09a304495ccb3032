// SPDX-License-Identifier: Apache-2.0
// Text as Python's str sees it: code points, white space, case.  All texts are well-formed UTF-8.
//
// Case mappings that turn one character into several (U+00DF to "SS") and the final sigma are not
// built: what would need them gives nullopt, and the caller refuses.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orthant::jinja {

bool whole_text_is_utf8(std::string_view text);
size_t num_code_points(std::string_view text);
// The code point that begins at `at`, which moves behind it.
char32_t next_code_point(std::string_view text, size_t& at);
std::u32string code_points(std::string_view text);
std::string utf8(std::u32string_view text);
void append_utf8(std::string& text, char32_t code);
// `prefix` and the code in hexadecimal: "\\u00e9".
void append_hex(std::string& text, const char* prefix, char32_t code, int digits);
// Byte offset of code point `index`; text.size() when there are fewer.
size_t byte_offset(std::string_view text, size_t index);

bool is_space(char32_t code);       // str.isspace, re's \s
bool is_line_break(char32_t code);  // where str.splitlines ends a line; "\r\n" is one
bool is_printable(char32_t code);   // what repr writes as it is
// re's \w; nullopt for what is not built: marks, digits and letters without case outside ASCII.
std::optional<bool> is_word(char32_t code);
std::optional<std::string> upper(std::string_view text);
std::optional<std::string> lower(std::string_view text);
std::optional<std::string> title(std::string_view text);       // str.title
std::optional<std::string> capitalize(std::string_view text);  // str.capitalize
std::optional<bool> is_lower(std::string_view text);           // str.islower
std::optional<bool> is_upper(std::string_view text);           // str.isupper

}  // namespace orthant::jinja
