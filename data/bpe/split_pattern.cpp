// SPDX-License-Identifier: Apache-2.0
#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/bpe/split_pattern.h"

#include <pcre2.h>

namespace orthant {
namespace {

constexpr uint32_t kCompileOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
constexpr size_t kJitStackBytes = size_t{16} << 20;

std::string message_of(int code) {
  unsigned char text[200] = "";
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

pcre2_code* compile(const std::string& expression, std::string& error) {
  int code = 0;
  size_t offset = 0;
  pcre2_code* made = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()),
                                   expression.size(), kCompileOptions, &code, &offset, nullptr);
  if (!made) error = concat(message_of(code), " at character ", offset);
  // Where there is no JIT (a system that forbids it), matching works without, slower.
  if (made) pcre2_jit_compile(made, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
  return made;
}

std::string quoted(const std::string& text) {
  std::string expression;
  for (const char c : text) {
    const bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || static_cast<unsigned char>(c) >= 0x80;
    if (!is_word) expression += '\\';
    expression += c;
  }
  return expression;
}

}  // namespace

struct MatchScratch::Impl {
  Impl()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(size_t{32} << 10, kJitStackBytes, nullptr)) {
    ORTHANT_CHECK(data && context, kMemory, "PCRE2: no memory for matching");
    if (stack) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Impl() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    if (stack) pcre2_jit_stack_free(stack);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

MatchScratch::MatchScratch() : impl_(std::make_unique<Impl>()) {}
MatchScratch::~MatchScratch() = default;

struct SplitPattern::Code {
  explicit Code(pcre2_code* code) : code(code) {}
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  pcre2_code* code;
};

SplitPattern::SplitPattern(const std::string& oniguruma, const JsonPlace& place) {
  for (const bool with_new : {true, false}) {
    std::string error;
    pcre2_code* code = compile(pcre2_expression(oniguruma, with_new, place), error);
    if (!code) place.refuse("is no regular expression: ", error);
    (with_new ? code_ : plain_code_) = std::make_shared<Code>(code);
  }
  uint32_t matches_nothing = 0;
  pcre2_pattern_info(code_->code, PCRE2_INFO_MATCHEMPTY, &matches_nothing);
  if (matches_nothing) place.refuse("an expression that matches no text is not supported");
}

SplitPattern SplitPattern::parse(const JsonPlace& place) {
  if (place.has("Regex")) return SplitPattern(place.text("Regex"), place.at("Regex"));
  const std::string& text = place.text("String");
  if (text.empty()) place.at("String").refuse("want some text, got none");
  return pcre2(quoted(text));
}

SplitPattern SplitPattern::pcre2(const std::string& expression) {
  std::string error;
  pcre2_code* code = compile(expression, error);
  ORTHANT_CHECK(code, kInternal, "PCRE2: ", expression, ": ", error);
  return SplitPattern(std::make_shared<Code>(code));
}

SplitPattern::Found SplitPattern::find(std::string_view text, size_t from, bool open,
                                       MatchScratch& scratch) const {
  const MatchScratch::Impl& s = *scratch.impl_;
  const uint32_t options = PCRE2_NO_UTF_CHECK | (open ? PCRE2_PARTIAL_HARD : 0);
  const Code& pattern = scratch.new_characters_ ? *code_ : *plain_code_;
  const int code = pcre2_match(pattern.code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                               from, options, s.data, s.context);
  if (code == PCRE2_ERROR_NOMATCH) return {};
  const size_t* const place = pcre2_get_ovector_pointer(s.data);
  if (code == PCRE2_ERROR_PARTIAL) return {Status::kOpen, place[0], text.size()};
  ORTHANT_CHECK(code >= 0, kData,
                "tokenizer: a split pattern fails on the text: ", message_of(code));
  return {Status::kMatch, place[0], place[1]};
}

}  // namespace orthant
