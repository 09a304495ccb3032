// SPDX-License-Identifier: Apache-2.0
// Oniguruma's expressions, as far as they are let through, in PCRE2's syntax.
#include <algorithm>
#include <array>

#include "data/bpe/new_characters.h"
#include "data/bpe/split_pattern.h"

namespace orthant {
namespace {

// The White_Space characters, which are \s in Oniguruma, and all others.
constexpr std::string_view kSpaces =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";
constexpr std::string_view kNoSpaces =
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"
    "\\x{3001}-\\x{10ffff}";

constexpr auto kCategories = std::to_array<std::string_view>(
    {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N",  "Nd", "Nl", "No", "P", "Pc",
     "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp"});
// Their name in PCRE2 alone would also take characters that several scripts share.
constexpr auto kScripts = std::to_array<std::string_view>(
    {"Han",    "Hiragana", "Katakana", "Hangul",     "Latin",    "Cyrillic", "Greek",
     "Arabic", "Hebrew",   "Thai",     "Devanagari", "Armenian", "Georgian", "Ethiopic",
     "Khmer",  "Lao",      "Myanmar",  "Tibetan",    "Bengali",  "Tamil",    "Telugu"});

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

class Translator {
 public:
  Translator(std::string_view in, bool with_new_characters, const JsonPlace& place)
      : in_(in), with_new_characters_(with_new_characters), place_(place) {}

  std::string run() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '[') {
        character_class();
      } else if (c == '(') {
        group();
      } else if (c == '\\') {
        escape(false);
      } else if (c == '{') {
        repeat();
      } else if (c == '^' || c == '$') {
        refuse(std::string(1, c));
      } else {
        take(1);
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const { place_.refuse_name(what); }
  bool next_is(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  void take(size_t n) {
    out_ += in_.substr(at_, n);
    at_ += n;
  }

  void group() {
    if (!next_is("(?") && !next_is("(*")) return take(1);
    for (const std::string_view opening : {"(?:", "(?i:", "(?!", "(?=", "(?>"})
      if (next_is(opening)) return take(opening.size());
    refuse(std::string(in_.substr(at_, 4)));
  }

  // {n}, {n,}, {n,m} mean the same in both unless + or ? follow.
  void repeat() {
    size_t end = at_ + 1;
    while (end < in_.size() && in_[end] >= '0' && in_[end] <= '9') ++end;
    if (end == at_ + 1) refuse(std::string(in_.substr(at_, 3)));
    if (end < in_.size() && in_[end] == ',') ++end;
    while (end < in_.size() && in_[end] >= '0' && in_[end] <= '9') ++end;
    if (end >= in_.size() || in_[end] != '}') refuse(std::string(in_.substr(at_, end - at_)));
    ++end;
    if (end < in_.size() && (in_[end] == '+' || in_[end] == '?'))
      refuse(std::string(in_.substr(at_, end + 1 - at_)));
    take(end - at_);
  }

  void character_class() {
    take(1);
    if (next_is("^")) take(1);
    if (next_is("]")) refuse("[]");
    while (!next_is("]")) {
      if (at_ >= in_.size()) place_.refuse("a class is not closed");
      if (next_is("&&")) refuse("&& in a class");
      if (next_is("[")) refuse("[ in a class");
      if (next_is("\\")) {
        escape(true);
      } else {
        take(1);
      }
    }
    take(1);
  }

  void spaces(bool in_class, bool negated) {
    const std::string_view set = negated ? kNoSpaces : kSpaces;
    at_ += 2;
    if (!in_class) out_ += '[';
    out_ += set;
    if (!in_class) out_ += ']';
  }

  void escape(bool in_class) {
    const char c = at_ + 1 < in_.size() ? in_[at_ + 1] : '\0';
    if (c == 's' || c == 'S') return spaces(in_class, c == 'S');
    if (c == 'p' || c == 'P') return property(in_class);
    if (c == 'd' || c == 'D') {
      at_ += 2;
      return category("Nd", in_class, c == 'D', "\\D");
    }
    if (c == 'x' || c == 'u') return code_point();
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool is_digit = c >= '0' && c <= '9';
    if (c == '\0' || is_digit ||
        (is_letter && std::string_view("rntf").find(c) == std::string_view::npos))
      refuse(std::string(in_.substr(at_, 2)));
    take(2);
  }

  // A category also has the characters that PCRE2 does not know yet.
  void property(bool in_class) {
    const size_t close = in_.find('}', at_);
    if (in_.substr(at_ + 2, 1) != "{" || close == std::string_view::npos)
      refuse(std::string(in_.substr(at_, 4)));
    const std::string_view whole = in_.substr(at_, close + 1 - at_);
    std::string_view name = whole.substr(3, whole.size() - 4);
    const bool has_caret = name.starts_with('^');
    if (has_caret) name.remove_prefix(1);
    const bool negated = has_caret != (in_[at_ + 1] == 'P');
    at_ = close + 1;
    if (std::ranges::find(kScripts, name) != kScripts.end()) {
      out_ += concat(negated ? "\\P{sc:" : "\\p{sc:", name, "}");
    } else if (std::ranges::find(kCategories, name) != kCategories.end()) {
      category(name, in_class, negated, whole);
    } else {
      refuse(std::string(whole));
    }
  }

  void category(std::string_view name, bool in_class, bool negated, std::string_view whole) {
    const std::string members =
        concat("\\p{", name, "}", with_new_characters_ ? new_characters(name) : "");
    if (in_class && negated) refuse(concat(whole, " in a class"));
    if (in_class || !with_new_characters_) {
      out_ += negated ? concat("\\P{", name, "}") : members;
    } else {
      out_ += concat(negated ? "[^" : "[", members, "]");
    }
  }

  // \xHH, \x{H...}, \uHHHH; Oniguruma's \xHH beyond ASCII is a byte.
  void code_point() {
    const bool braces = in_.substr(at_ + 2, 1) == "{";
    size_t begin = at_ + (braces ? 3 : 2), end = begin;
    const size_t most = braces ? 8 : in_[at_ + 1] == 'u' ? 4 : 2;
    while (end < in_.size() && end - begin < most && is_hex(in_[end])) ++end;
    const bool closed = !braces || (end < in_.size() && in_[end] == '}');
    const bool whole = braces ? end > begin && in_[at_ + 1] == 'x' : end - begin == most;
    if (!closed || !whole || (most == 2 && in_[begin] > '7'))
      refuse(std::string(in_.substr(at_, 6)));
    out_ += concat("\\x{", in_.substr(begin, end - begin), "}");
    at_ = end + (braces ? 1 : 0);
  }

  std::string_view in_;
  bool with_new_characters_;
  const JsonPlace& place_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string pcre2_expression(const std::string& oniguruma, bool with_new_characters,
                             const JsonPlace& place) {
  return Translator(oniguruma, with_new_characters, place).run();
}

}  // namespace orthant
