// SPDX-License-Identifier: Apache-2.0
#include "base/config/yaml_text.h"

#include <array>

#include "base/error.h"

namespace orthant {
namespace {

// yaml-cpp looks ahead through unclosed brackets and keeps what it sees, before our handler can
// count levels: no text that people write has as many open ones.
constexpr int kMaxOpenBrackets = 1024;

// Length of the valid UTF-8 sequence at `at`, 0 when there is none (RFC 3629, table 3-7 of
// Unicode).
size_t utf8_length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto tail = [&](size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned first = byte(at), second = byte(at + 1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(at + 1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && second < 0xA0;
    const bool surrogate = first == 0xED && second > 0x9F;
    return tail(at + 1) && tail(at + 2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool overlong = first == 0xF0 && second < 0x90;
    const bool too_high = first == 0xF4 && second > 0x8F;
    return tail(at + 1) && tail(at + 2) && tail(at + 3) && !overlong && !too_high ? 4 : 0;
  }
  return 0;
}

void check_bytes(std::string_view text, const YamlPlace& origin, bool is_file) {
  YamlPlace place = origin;
  if (is_file) place.line = place.column = 1;
  const char* remedy = is_file ? "save the file" : "write the value";
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    refuse_yaml(place, concat("the text is UTF-16; ", remedy, " as UTF-8"));
  }
  if (text.size() > YamlLimits::kMaxBytes) {
    refuse_yaml(place, concat("larger than ", YamlLimits::kMaxBytes,
                              " bytes, the most a configuration may have"));
  }
  int open = 0;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '\0') refuse_yaml(place, "a NUL byte; is this text in UTF-8?");
    const bool control =
        (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) && c != '\t' && c != '\n' && c != '\r';
    if (control) refuse_yaml(place, concat("a control byte; ", remedy, " as plain text"));
    const size_t length = utf8_length(text, i);
    if (length == 0)
      refuse_yaml(place, concat("bytes that are not valid UTF-8; ", remedy, " as UTF-8"));
    if (c == '[' || c == '{') ++open;
    if ((c == ']' || c == '}') && open > 0) --open;
    if (open > kMaxOpenBrackets) {
      refuse_yaml(place, concat("nested deeper than ", YamlLimits::kMaxDepth, " levels"));
    }
    if (is_file) {
      if (c == '\n') {
        ++place.line;
        place.column = 1;
      } else {
        place.column += static_cast<int>(length);
      }
    }
    i += length;
  }
}

// Directives are silently skipped by yaml-cpp.
void check_no_directive(std::string_view text, const YamlPlace& origin, bool is_file) {
  for (int number = 0; !text.empty(); ++number) {
    if (text[0] == '%') {
      YamlPlace place = origin;
      if (is_file) place.line = number + 1, place.column = 1;
      refuse_yaml(place, "directives (%) are not accepted");
    }
    const size_t word = text.find_first_not_of(" \t\r");
    if (word != std::string_view::npos && text[word] != '\n' && text[word] != '#') return;
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

std::string_view line_at(std::string_view text, int number) {
  for (; number > 0; --number) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

}  // namespace

void refuse_yaml(const YamlPlace& place, const std::string& message) {
  throw Error(ErrorKind::kConfig, concat(place.text(), ": ", message));
}

void check_yaml_text(std::string_view text, const YamlPlace& origin, bool is_file) {
  check_bytes(text, origin, is_file);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  check_no_directive(text, origin, is_file);
}

std::string explain_yaml_error(const std::string& message, std::string_view text, int number) {
  const std::string_view line = line_at(text, number);
  const size_t indent = line.find_first_not_of(" \t");
  const bool tab = line.substr(0, indent == std::string_view::npos ? 0 : indent).find('\t') !=
                   std::string_view::npos;
  if (tab) return "the line is indented with a tab; YAML wants spaces";
  struct Known {
    std::string_view words;
    const char* ours;
  };
  static constexpr std::array<Known, 9> kKnown = {{
      {"illegal map value",
       "unexpected ':'; put a text that holds ': ' in quotes, and check the indentation"},
      {"end of map not found", "cannot go on here; check the indentation and the quotes"},
      {"end of sequence not found", "cannot go on here; check the indentation of this list"},
      {"end of sequence flow not found", "a '[' is not closed, or a ',' is missing"},
      {"end of map flow not found", "a '{' is not closed, or a ',' is missing"},
      {"illegal flow end", "a closing bracket without its opening one"},
      {"unknown token", "a text cannot begin with this character; put it in quotes"},
      {"illegal EOF in scalar", "a quote is never closed"},
      {"anchor is not defined",
       "aliases (*name) are not accepted; write the value out, or quote the text"},
  }};
  for (const Known& known : kKnown) {
    if (message.find(known.words) != std::string::npos) return known.ours;
  }
  return message;
}

}  // namespace orthant
