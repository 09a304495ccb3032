// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "data/jinja/arguments.h"
#include "data/jinja/filters.h"
#include "data/jinja/operators.h"
#include "data/jinja/printing.h"
#include "data/jinja/render.h"
#include "data/jinja/text_operations.h"
#include "data/jinja/unicode.h"

namespace orthant::jinja::filters {
namespace {

// markupsafe.soft_str: a text stays what it is, marked or not.
Value as_text(Render& render, const Value& value) {
  return value.is(Type::kString) ? value : render.text(str(render, value));
}
Value with_case_of(Render& render, const Value& value, const Arguments& arguments, Case which) {
  const Bound bound(render, "filter", arguments, {});
  const Value text = as_text(render, value);
  return render.text_like(text, with_case(render, text.bytes(), which));
}

}  // namespace

Value trim(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter trim", arguments, {"chars"});
  std::optional<std::string_view> chars;
  if (bound.has_value(0)) chars = bound.text(0);
  const Value text = as_text(render, value);
  return render.text_like(text, std::string(strip(text.bytes(), chars, Side::kBoth)));
}
Value lower(Render& render, const Value& value, const Arguments& arguments) {
  return with_case_of(render, value, arguments, Case::kLower);
}
Value upper(Render& render, const Value& value, const Arguments& arguments) {
  return with_case_of(render, value, arguments, Case::kUpper);
}
Value capitalize(Render& render, const Value& value, const Arguments& arguments) {
  return with_case_of(render, value, arguments, Case::kCapitalize);
}
// Jinja's own: words begin behind white space and - ( { [ <, so that "it's" becomes "It's".
Value title(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter title", arguments, {});
  const Value source = as_text(render, value);
  const std::string& text = source.bytes();
  std::string out;
  bool begins = true;
  for (size_t at = 0; at < text.size();) {
    const size_t from = at;
    const char32_t code = next_code_point(text, at);
    out += with_case(render, std::string_view(text).substr(from, at - from),
                     begins ? Case::kUpper : Case::kLower);
    begins =
        is_space(code) || code == '-' || code == '(' || code == '{' || code == '[' || code == '<';
  }
  return render.text(std::move(out));
}

Value replace(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter replace", arguments, {"old", "new", "count"}, 2);
  const int64_t count = bound.has_value(2) ? bound.integer(2, -1) : -1;
  return render.text(jinja::replace(render, str(render, value), str(render, bound[0]),
                                    str(render, bound[1]), count));
}
Value string(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter string", arguments, {});
  return as_text(render, value);
}
Value safe(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter safe", arguments, {});
  return render.text(str(render, value), true);
}
Value escape(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter escape", arguments, {});
  if (value.is(Type::kString) && value.as_text().is_markup) return value;
  return render.text(html_escaped(str(render, value)), true);
}

Value indent(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter indent", arguments, {"width", "first", "blank"});
  if (!value.is(Type::kString)) render.fail("filter indent: want a text, got ", value.type_name());
  const bool first = bound.truth(1, false), blank = bound.truth(2, false);
  std::string margin;
  if (bound.has(0) && bound[0].is(Type::kString)) {
    const bool escapes = value.as_text().is_markup && !bound[0].as_text().is_markup;
    margin = escapes && (first || blank) ? html_escaped(bound.text(0)) : bound.text(0);
    if (escapes && margin != html_escaped(margin))
      render.fail("filter indent: a width with HTML's characters for a safe text is not built");
  } else {
    const int64_t width = bound.integer(0, 4);
    render.charge(width > 0 ? static_cast<size_t>(width) : 0);
    margin.assign(width > 0 ? static_cast<size_t>(width) : 0, ' ');
  }
  const std::string text = value.bytes() + "\n";
  std::string out;
  if (first) out += margin;
  bool is_first = true;
  for (const std::string_view line : split_lines(text, false)) {
    const bool is_indented = !is_first && (blank || !line.empty());
    render.charge(line.size() + margin.size() + 1);
    if (!std::exchange(is_first, false)) out += '\n';
    if (is_indented) out += margin;
    out += line;
  }
  return render.text_like(value, std::move(out));
}

Value wordcount(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter wordcount", arguments, {});
  const std::string text = str(render, value);
  int64_t count = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const auto is_part = is_word(next_code_point(text, at));
    if (!is_part) render.fail("filter wordcount: letters without case are not built");
    if (*is_part && !inside) ++count;
    inside = *is_part;
  }
  return Value::integer(count);
}

Value join(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter join", arguments, {"d", "attribute"});
  const std::string separator = bound.has(0) ? str(render, bound[0]) : "";
  const bool by_attribute = bound.has_value(1);
  std::string out;
  bool is_first = true;
  const auto next = iterate(render, value);
  for (Value item; next(item);) {
    if (by_attribute) item = by_path(render, item, bound[1], nullptr);
    const std::string text = str(render, item);
    render.charge(text.size() + separator.size());
    if (!std::exchange(is_first, false)) out += separator;
    out += text;
  }
  return render.text(std::move(out));
}

Value tojson(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter tojson", arguments,
                    {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonFormat format;
  format.ensure_ascii = bound.truth(0, false);
  format.sort_keys = bound.truth(3, false);
  if (bound.has_value(1)) {
    if (bound[1].is(Type::kString)) {
      format.indent = bound.text(1);
    } else {
      const int64_t width = bound.integer(1, 0);
      if (width > kMaxValueDepth) render.fail("filter tojson: indent=", width, " is not built");
      format.indent = std::string(width > 0 ? static_cast<size_t>(width) : 0, ' ');
    }
    format.item_separator.pop_back();  // no space at the ends of lines
  }
  if (bound.has_value(2)) {
    const std::vector<Value> parts = all_items(render, bound[2]);
    if (parts.size() != 2 || !parts[0].is(Type::kString) || !parts[1].is(Type::kString))
      render.fail("filter tojson: separators other than two texts are not built");
    format.item_separator = parts[0].bytes();
    format.key_separator = parts[1].bytes();
  }
  return render.text(to_json(render, value, format));
}

}  // namespace orthant::jinja::filters
