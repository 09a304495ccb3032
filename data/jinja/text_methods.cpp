// SPDX-License-Identifier: Apache-2.0
// Methods of Python's str.
#include <algorithm>
#include <array>

#include "data/jinja/arguments.h"
#include "data/jinja/methods.h"
#include "data/jinja/operators.h"
#include "data/jinja/printing.h"
#include "data/jinja/render.h"
#include "data/jinja/text_operations.h"
#include "data/jinja/unicode.h"

namespace orthant::jinja {
namespace {

Value list_of(Render& render, const Value& like, const std::vector<std::string_view>& pieces) {
  std::vector<Value> items;
  for (const std::string_view piece : pieces) {
    render.step();
    items.push_back(render.text_like(like, std::string(piece)));
  }
  return render.list(std::move(items));
}

// Pieces between `separator`; from the right when `from_right`.
std::vector<std::string_view> split_by(std::string_view text, std::string_view separator,
                                       int64_t most, bool from_right) {
  std::vector<std::string_view> pieces;
  while (most-- != 0) {
    const size_t found = from_right ? text.rfind(separator) : text.find(separator);
    if (found == std::string_view::npos) break;
    const std::string_view right = text.substr(found + separator.size());
    pieces.push_back(from_right ? right : text.substr(0, found));
    text = from_right ? text.substr(0, found) : right;
  }
  pieces.push_back(text);
  if (from_right) std::reverse(pieces.begin(), pieces.end());
  return pieces;
}
// Words between white space.
std::vector<std::string_view> split_words(std::string_view text, int64_t most, bool from_right) {
  std::vector<std::string_view> words;
  text = strip(text, std::nullopt, from_right ? Side::kRight : Side::kLeft);
  while (!text.empty() && most-- != 0) {
    size_t cut = from_right ? 0 : text.size();  // where the word's far end is
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      if (!is_space(next_code_point(text, at))) continue;
      cut = from_right ? at : begin;
      if (!from_right) break;
    }
    words.push_back(from_right ? text.substr(cut) : text.substr(0, cut));
    text = from_right ? text.substr(0, cut) : text.substr(cut);
    text = strip(text, std::nullopt, from_right ? Side::kRight : Side::kLeft);
  }
  if (!text.empty())
    words.push_back(strip(text, std::nullopt, from_right ? Side::kRight : Side::kLeft));
  if (from_right) std::reverse(words.begin(), words.end());
  return words;
}
Value split_from(Render& render, const Value& self, const Arguments& arguments, bool from_right) {
  const char* name = from_right ? "str.rsplit" : "str.split";
  const Bound bound(render, name, arguments, {"sep", "maxsplit"});
  const int64_t most = bound.integer(1, -1);
  const std::string& text = self.bytes();
  render.step(text.size() / 64);
  if (!bound.has_value(0)) return list_of(render, self, split_words(text, most, from_right));
  if (bound.text(0).empty()) render.fail(name, ": the separator is empty");
  return list_of(render, self, split_by(text, bound.text(0), most, from_right));
}
Value split(Render& render, const Value& self, const Arguments& arguments) {
  return split_from(render, self, arguments, false);
}
Value rsplit(Render& render, const Value& self, const Arguments& arguments) {
  return split_from(render, self, arguments, true);
}
Value splitlines(Render& render, const Value& self, const Arguments& arguments) {
  const Bound bound(render, "str.splitlines", arguments, {"keepends"});
  return list_of(render, self, split_lines(self.bytes(), bound.truth(0, false)));
}

template <Side kSide>
Value stripped(Render& render, const Value& self, const Arguments& arguments) {
  const Bound bound(render, "str.strip", arguments, {"chars"}, 0, false);
  std::optional<std::string_view> chars;
  if (bound.has_value(0)) chars = bound.text(0);
  return render.text_like(self, std::string(strip(self.bytes(), chars, kSide)));
}

template <Case kCase>
Value cased(Render& render, const Value& self, const Arguments& arguments) {
  const Bound bound(render, "str.upper", arguments, {});
  return render.text_like(self, with_case(render, self.bytes(), kCase));
}

// What of the text startswith, endswith, find and count look at: between code points start and end.
struct Window {
  std::string_view text;
  int64_t start = 0;
  bool is_past_end = false;  // begins behind the text: not even "" is there
};
Window window_of(Render& render, const Value& self, const Bound& bound) {
  const auto size = static_cast<int64_t>(self.as_text().length);
  const auto index = [&](size_t i, int64_t otherwise) {
    const int64_t value = bound.has_value(i) ? bound.integer(i, 0) : otherwise;
    return value < 0 ? std::max<int64_t>(value + size, 0) : value;
  };
  Window window;
  window.start = index(1, 0);
  const int64_t stop = std::min(index(2, size), size);
  if (window.start > size || window.start > stop) {
    window.is_past_end = true;
    return window;
  }
  if (!self.as_text().is_ascii()) render.step(self.bytes().size() / 64);
  const size_t begin = byte_offset(self.bytes(), static_cast<size_t>(window.start));
  const size_t end = byte_offset(self.bytes(), static_cast<size_t>(stop));
  window.text = std::string_view(self.bytes()).substr(begin, end - begin);
  return window;
}

Value has_affix(Render& render, const Value& self, const Arguments& arguments, bool at_end) {
  const char* name = at_end ? "str.endswith" : "str.startswith";
  const Bound bound(render, name, arguments, {"affix", "start", "end"}, 1, false);
  const Window window = window_of(render, self, bound);
  const auto matches = [&](const Value& affix) {
    if (!affix.is(Type::kString))
      render.fail(name, ": want a text or a tuple of texts, got ", affix.type_name());
    if (window.is_past_end) return false;
    return at_end ? window.text.ends_with(affix.bytes()) : window.text.starts_with(affix.bytes());
  };
  if (!bound[0].is(Type::kTuple)) return Value::boolean(matches(bound[0]));
  for (const Value& affix : bound[0].items())
    if (matches(affix)) return Value::boolean(true);
  return Value::boolean(false);
}
Value startswith(Render& render, const Value& self, const Arguments& arguments) {
  return has_affix(render, self, arguments, false);
}
Value endswith(Render& render, const Value& self, const Arguments& arguments) {
  return has_affix(render, self, arguments, true);
}

template <bool kFromRight>
Value find(Render& render, const Value& self, const Arguments& arguments) {
  const Bound bound(render, "str.find", arguments, {"sub", "start", "end"}, 1, false);
  const std::string& wanted = bound.text(0);
  const Window window = window_of(render, self, bound);
  if (window.is_past_end) return Value::integer(-1);
  const size_t found = kFromRight ? window.text.rfind(wanted) : window.text.find(wanted);
  if (found == std::string_view::npos) return Value::integer(-1);
  return Value::integer(window.start +
                        static_cast<int64_t>(num_code_points(window.text.substr(0, found))));
}
Value count(Render& render, const Value& self, const Arguments& arguments) {
  const Bound bound(render, "str.count", arguments, {"sub", "start", "end"}, 1, false);
  const std::string& wanted = bound.text(0);
  const Window window = window_of(render, self, bound);
  if (window.is_past_end) return Value::integer(0);
  if (wanted.empty()) return Value::integer(static_cast<int64_t>(num_code_points(window.text)) + 1);
  int64_t times = 0;
  for (size_t at = 0; (at = window.text.find(wanted, at)) != std::string_view::npos; ++times)
    at += wanted.size();
  return Value::integer(times);
}

Value replace_in(Render& render, const Value& self, const Arguments& arguments) {
  const Bound bound(render, "str.replace", arguments, {"old", "new", "count"}, 2, false);
  const bool escapes =
      self.as_text().is_markup && !(bound[1].is(Type::kString) && bound[1].as_text().is_markup);
  const std::string by = escapes ? html_escaped(bound.text(1)) : bound.text(1);
  return render.text_like(self,
                          replace(render, self.bytes(), bound.text(0), by, bound.integer(2, -1)));
}
Value join_items(Render& render, const Value& self, const Arguments& arguments) {
  const Bound bound(render, "str.join", arguments, {"iterable"}, 1, false);
  std::string out;
  bool is_first = true;
  for (const Value& item : all_items(render, bound[0])) {
    if (!item.is(Type::kString)) render.fail("str.join: want texts, got ", item.type_name());
    const bool escapes = self.as_text().is_markup && !item.as_text().is_markup;
    render.charge(self.bytes().size() + item.bytes().size());
    if (!std::exchange(is_first, false)) out += self.bytes();
    out += escapes ? html_escaped(item.bytes()) : item.bytes();
  }
  return render.text_like(self, std::move(out));
}
template <bool kPrefix>
Value remove_affix(Render& render, const Value& self, const Arguments& arguments) {
  const Bound bound(render, "str.removeprefix", arguments, {"affix"}, 1, false);
  std::string_view text = self.bytes();
  const std::string& affix = bound.text(0);
  if (kPrefix ? text.starts_with(affix) : text.ends_with(affix))
    text = kPrefix ? text.substr(affix.size()) : text.substr(0, text.size() - affix.size());
  return render.text_like(self, std::string(text));
}

constexpr std::array<Method, 19> kTextMethods = {{
    {"split", split},
    {"rsplit", rsplit},
    {"splitlines", splitlines},
    {"strip", stripped<Side::kBoth>},
    {"lstrip", stripped<Side::kLeft>},
    {"rstrip", stripped<Side::kRight>},
    {"upper", cased<Case::kUpper>},
    {"lower", cased<Case::kLower>},
    {"title", cased<Case::kTitle>},
    {"capitalize", cased<Case::kCapitalize>},
    {"startswith", startswith},
    {"endswith", endswith},
    {"find", find<false>},
    {"rfind", find<true>},
    {"count", count},
    {"replace", replace_in},
    {"join", join_items},
    {"removeprefix", remove_affix<true>},
    {"removesuffix", remove_affix<false>},
}};

}  // namespace

const Method* find_text_method(std::string_view name) {
  for (const Method& method : kTextMethods)
    if (name == method.name) return &method;
  return nullptr;
}

}  // namespace orthant::jinja
