// SPDX-License-Identifier: Apache-2.0
#include "data/jsonl.h"

#include <array>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace orthant {
namespace {

LineFaultKind kind_of(std::string_view reason) {
  if (reason.find("ill-formed UTF-8") != std::string_view::npos) return LineFaultKind::kNotUtf8;
  if (reason.find("surrogate U+") != std::string_view::npos) return LineFaultKind::kLoneSurrogate;
  return LineFaultKind::kNotJson;
}

// Walks the line without building a tree and keeps "text" only; the first fault ends the walk.  The
// parser calls it from a loop, so depth costs no stack.
class TextFinder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TextFinder(std::string& text) : text_(text) {}
  std::optional<LineFault> fault() && {
    if (!fault_ && !found_) bad(LineFaultKind::kNoText, "the object has no member \"text\"");
    return std::move(fault_);
  }

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("a boolean"); }
  bool number_integer(number_integer_t) override { return other("a number"); }
  bool number_unsigned(number_unsigned_t) override { return other("a number"); }
  bool number_float(number_float_t, const string_t&) override { return other("a number"); }
  bool binary(binary_t&) override { return other("binary data"); }
  bool string(string_t& value) override {
    if (!wanted()) return other("a string");
    text_ = std::move(value);
    found_ = true;
    is_text_ = false;
    return true;
  }
  bool start_object(std::size_t) override {
    return (depth_ == 0 || other("an object")) && deeper();
  }
  bool start_array(std::size_t) override { return other("an array") && deeper(); }
  bool end_object() override { return --depth_, true; }
  bool end_array() override { return --depth_, true; }
  bool key(string_t& name) override {
    is_text_ = depth_ == 1 && name == "text";
    if (is_text_ && found_) return bad(LineFaultKind::kTextTwice, "member \"text\" is there twice");
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& e) override {
    const std::string reason = plain_reason(e.what());
    return bad(kind_of(reason), concat("not valid JSON: ", reason));
  }

 private:
  bool bad(LineFaultKind kind, std::string reason) {
    fault_ = {kind, std::move(reason)};
    return false;
  }
  bool wanted() const { return is_text_ && depth_ == 1; }
  // Any value but the wanted text.
  bool other(const char* what) {
    if (depth_ == 0)
      return bad(LineFaultKind::kNoObject,
                 concat("want an object with a member \"text\", got ", what));
    if (wanted())
      return bad(LineFaultKind::kTextNoString,
                 concat("member \"text\": want a string, got ", what));
    return true;
  }
  bool deeper() {
    if (++depth_ <= kMaxJsonDepth) return true;
    return bad(LineFaultKind::kTooDeep, concat("nested deeper than ", kMaxJsonDepth, " levels"));
  }

  std::string& text_;
  std::optional<LineFault> fault_;
  int depth_ = 0;
  bool found_ = false, is_text_ = false;
};

}  // namespace

const char* line_fault_name(LineFaultKind kind) {
  static constexpr std::array<const char*, kNumLineFaultKinds> kNames = {
      "not JSON",       "not UTF-8",        "half of a surrogate pair",
      "no object",      "without \"text\"", "\"text\" that is no string",
      "\"text\" twice", "nested too deep",  "too long"};
  return kNames[static_cast<size_t>(kind)];
}

std::optional<LineFault> json_text(std::string_view line, std::string& text) {
  TextFinder finder(text);
  nlohmann::json::sax_parse(line.begin(), line.end(), &finder);
  return std::move(finder).fault();
}

}  // namespace orthant
