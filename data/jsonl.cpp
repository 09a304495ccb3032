// SPDX-License-Identifier: Apache-2.0
#include "data/jsonl.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace orthant {
namespace {

// nlohmann's text without its tag, cut short and in plain ASCII: it quotes the input, which may be
// anything.
std::string plain_reason(std::string text) {
  if (const size_t tag = text.find("] "); text.starts_with('[') && tag != std::string::npos)
    text.erase(0, tag + 2);
  constexpr size_t kMost = 160;
  if (text.size() > kMost) text = text.substr(0, kMost) + "...";
  for (char& c : text)
    if (c < ' ' || c > '~') c = '?';
  return text;
}

// Walks the line without building a tree and keeps "text" only.  The parser calls it from a loop,
// so depth costs no stack.
class TextFinder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TextFinder(const std::string& where) : where_(where) {}
  bool found() const { return found_; }
  std::string take() { return std::move(text_); }

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
    if (depth_ > 0) other("an object");
    return deeper();
  }
  bool start_array(std::size_t) override {
    other("an array");
    return deeper();
  }
  bool end_object() override { return --depth_, true; }
  bool end_array() override { return --depth_, true; }
  bool key(string_t& name) override {
    is_text_ = depth_ == 1 && name == "text";
    ORTHANT_CHECK(!is_text_ || !found_, kData, where_, ": member \"text\" is there twice");
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& e) override {
    throw_error(ErrorKind::kData, concat(where_, ": not valid JSON: ", plain_reason(e.what())));
  }

 private:
  bool wanted() const { return is_text_ && depth_ == 1; }
  // Any value but the wanted text.
  bool other(const char* what) {
    ORTHANT_CHECK(depth_ > 0, kData, where_, ": want an object with a member \"text\", got ", what);
    ORTHANT_CHECK(!wanted(), kData, where_, ": member \"text\": want a string, got ", what);
    return true;
  }
  bool deeper() {
    ORTHANT_CHECK(++depth_ <= kMaxJsonDepth, kData, where_, ": nested deeper than ", kMaxJsonDepth,
                  " levels");
    return true;
  }

  const std::string& where_;
  std::string text_;
  int depth_ = 0;
  bool found_ = false, is_text_ = false;
};

}  // namespace

std::string json_text(std::string_view line, const std::string& where) {
  TextFinder finder(where);
  nlohmann::json::sax_parse(line.begin(), line.end(), &finder);
  ORTHANT_CHECK(finder.found(), kData, where, ": the object has no member \"text\"");
  return finder.take();
}

}  // namespace orthant
