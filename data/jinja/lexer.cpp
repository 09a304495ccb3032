// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/text.h"
#include "data/jinja/literals.h"
#include "data/jinja/unicode.h"

namespace orthant::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

class Lexer {
 public:
  explicit Lexer(const Source& source) : source_(source), text_(source.text()) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) read_data_and_tag();
    add(TokenKind::kEnd, at_);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(size_t byte, const std::string& message) const {
    source_.fail(source_.place_at(byte), message);
  }
  Token& add(TokenKind kind, size_t byte, std::string text = {}) {
    tokens_.push_back({kind, place_at(byte), std::move(text)});
    return tokens_.back();
  }
  // Places are asked for in ascending order, so each line is counted once.
  Place place_at(size_t byte) {
    for (; counted_ < byte; ++counted_)
      if (text_[counted_] == '\n') ++line_, line_begin_ = counted_ + 1;
    const std::string_view before = text_.substr(line_begin_, byte - line_begin_);
    if (before.size() >= seen_in_line_.size && seen_in_line_.begin == line_begin_) {
      seen_in_line_.columns += num_code_points(before.substr(seen_in_line_.size));
    } else {
      seen_in_line_ = {line_begin_, 0, num_code_points(before)};
    }
    seen_in_line_.size = before.size();
    return {line_, 1 + static_cast<int>(seen_in_line_.columns)};
  }
  bool sees(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  // Bytes of white space at `at`.
  size_t spaces_at(size_t at) const {
    size_t end = at;
    while (end < text_.size()) {
      size_t next = end;
      if (!is_space(next_code_point(text_, next))) break;
      end = next;
    }
    return end - at;
  }

  void read_data_and_tag() {
    size_t tag = at_;
    while ((tag = text_.find('{', tag)) != std::string_view::npos && tag + 1 < text_.size() &&
           text_[tag + 1] != '{' && text_[tag + 1] != '%' && text_[tag + 1] != '#')
      ++tag;
    if (tag == std::string_view::npos || tag + 1 >= text_.size()) {
      add_data(at_, text_.substr(at_));
      at_ = text_.size();
      return;
    }
    const char kind = text_[tag + 1];
    const char sign = sign_at(tag + 2);
    add_data(at_, data_before(at_, tag, sign, kind != '{'));
    at_ = tag + 2 + (sign ? 1 : 0);
    if (kind == '#') return skip_comment(tag);
    if (kind == '%' && skip_word_and_end("raw")) return read_raw(tag);
    add(kind == '{' ? TokenKind::kPrintBegin : TokenKind::kBlockBegin, tag);
    read_tag(tag, kind == '%');
  }
  char sign_at(size_t at) const {
    return at < text_.size() && (text_[at] == '-' || text_[at] == '+') ? text_[at] : '\0';
  }
  void add_data(size_t from, std::string_view data) {
    if (!data.empty()) add(TokenKind::kData, from, std::string(data));
  }

  // What of [begin, end) stays in front of a tag.
  std::string_view data_before(size_t begin, size_t end, char sign, bool is_block) const {
    std::string_view data = text_.substr(begin, end - begin);
    if (sign == '-') return data.substr(0, size_without_spaces(data));
    if (sign == '+' || !is_block) return data;
    const size_t newline = data.rfind('\n');
    if (newline == std::string_view::npos && !is_line_start_) return data;
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    const size_t kept = size_without_spaces(data);
    return kept <= line ? data.substr(0, line) : data;
  }
  static size_t size_without_spaces(std::string_view data) {
    size_t kept = 0;
    for (size_t at = 0; at < data.size();)
      if (!is_space(next_code_point(data, at))) kept = at;
    return kept;
  }

  // At "%}", "-%}" or "+%}" (`end` without its sign): moves behind it and what it drops.
  bool skip_end(std::string_view end, bool allows_plus, bool drops_newline) {
    const size_t begin = at_;
    if (sees("-") && text_.substr(at_ + 1).starts_with(end)) {
      at_ += 1 + end.size();
      at_ += spaces_at(at_);
    } else if (allows_plus && sees("+") && text_.substr(at_ + 1).starts_with(end)) {
      at_ += 1 + end.size();
    } else if (sees(end)) {
      at_ += end.size();
      if (drops_newline && sees("\n")) ++at_;
    } else {
      return false;
    }
    is_line_start_ = at_ > begin && text_[at_ - 1] == '\n';
    return true;
  }

  void skip_comment(size_t begin) {
    const size_t end = text_.find("#}", at_);
    if (end == std::string_view::npos) fail(begin, "the comment has no end '#}'");
    at_ = end > at_ && sign_at(end - 1) ? end - 1 : end;
    skip_end("#}", true, true);
  }

  // Behind "{%": "raw" or "endraw" and the end of the tag, or nothing is skipped.
  bool skip_word_and_end(std::string_view word) {
    const size_t begin = at_;
    at_ += spaces_at(at_);
    if (sees(word)) {
      at_ += word.size();
      at_ += spaces_at(at_);
      const bool is_end = word != "raw";
      if (skip_end("%}", is_end, is_end)) return true;
    }
    at_ = begin;
    return false;
  }
  void read_raw(size_t begin) {
    const size_t data = at_;
    const bool was_line_start = is_line_start_;
    for (size_t tag = data; (tag = text_.find("{%", tag)) != std::string_view::npos; tag += 2) {
      const char sign = sign_at(tag + 2);
      at_ = tag + 2 + (sign ? 1 : 0);
      if (!skip_word_and_end("endraw")) continue;
      const bool starts_line = is_line_start_;
      is_line_start_ = was_line_start;
      add_data(data, data_before(data, tag, sign, true));
      is_line_start_ = starts_line;
      return;
    }
    fail(begin, "the raw block has no end: want {% endraw %}");
  }

  // The inside of "{{ }}" or "{% %}" up to its end.
  void read_tag(size_t begin, bool is_block) {
    const std::string_view end = is_block ? "%}" : "}}";
    std::string open;  // brackets
    while (true) {
      at_ += spaces_at(at_);
      const size_t from = at_;
      if (open.empty() && skip_end(end, is_block, is_block)) {
        add(is_block ? TokenKind::kBlockEnd : TokenKind::kPrintEnd, from);
        return;
      }
      if (at_ >= text_.size()) fail(begin, concat("the tag has no end '", end, "'"));
      read_token(open);
    }
  }

  void read_token(std::string& open) {
    const char c = text_[at_];
    if (is_digit(c)) return read_number();
    if (c == '\'' || c == '"') return read_string();
    if (is_name_start(c)) {
      size_t end = at_;
      while (end < text_.size() && (is_name_start(text_[end]) || is_digit(text_[end]))) ++end;
      add(TokenKind::kName, at_, std::string(text_.substr(at_, end - at_)));
      at_ = end;
      return;
    }
    static constexpr std::array<std::string_view, 26> kOperators = {
        "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto found =
        std::find_if(kOperators.begin(), kOperators.end(), [&](auto op) { return sees(op); });
    if (found == kOperators.end()) {
      size_t next = at_;
      next_code_point(text_, next);
      fail(at_, concat("unexpected character '", text_.substr(at_, next - at_), "'"));
    }
    balance(*found, open);
    add(TokenKind::kOperator, at_, std::string(*found));
    at_ += found->size();
  }
  void balance(std::string_view op, std::string& open) const {
    if (op == "(") open.push_back(')');
    if (op == "[") open.push_back(']');
    if (op == "{") open.push_back('}');
    if (op != ")" && op != "]" && op != "}") return;
    if (open.empty()) fail(at_, concat("unexpected '", op, "'"));
    if (open.back() != op[0]) fail(at_, concat("want '", open.back(), "', got '", op, "'"));
    open.pop_back();
  }

  void read_number() {
    const bool behind_dot = at_ > 0 && text_[at_ - 1] == '.';
    const NumberText number = number_at(text_.substr(at_), !behind_dot);
    Token& token = add(number.is_float ? TokenKind::kFloat : TokenKind::kInteger, at_);
    token.text = std::string(text_.substr(at_, number.size));
    if (!number.fits) fail(at_, concat("integer ", token.text, " does not fit 64 bits"));
    token.integer = number.integer;
    token.real = number.real;
    at_ += number.size;
  }
  void read_string() {
    const char quote = text_[at_];
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) fail(at_, "the string has no end");
    const Unescaped value = unescaped(text_.substr(at_ + 1, end - at_ - 1));
    if (!value.fault.empty()) fail(at_ + 1 + value.fault_at, value.fault);
    add(TokenKind::kString, at_, value.text);
    at_ = end + 1;
  }

  struct LineSeen {
    size_t begin = 0, size = 0, columns = 0;
  };
  const Source& source_;
  std::string_view text_;
  size_t at_ = 0;
  bool is_line_start_ = true;
  std::vector<Token> tokens_;
  size_t counted_ = 0, line_begin_ = 0;
  int line_ = 1;
  LineSeen seen_in_line_;
};

}  // namespace

std::vector<Token> tokens_of(const Source& source) { return Lexer(source).run(); }

}  // namespace orthant::jinja
