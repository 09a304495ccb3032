// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/printing.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "data/jinja/literals.h"
#include "data/jinja/operators.h"
#include "data/jinja/render.h"
#include "data/jinja/scope.h"
#include "data/jinja/unicode.h"

namespace orthant::jinja {
namespace {

std::string repr_of_text(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const char32_t code = next_code_point(text, at);
    if (code == static_cast<char32_t>(quote) || code == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(code));
    } else if (code == '\n' || code == '\r' || code == '\t') {
      out += code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t";
    } else if (is_printable(code)) {
      append_utf8(out, code);
    } else if (code < 0x100) {
      append_hex(out, "\\x", code, 2);
    } else if (code < 0x10000) {
      append_hex(out, "\\u", code, 4);
    } else {
      append_hex(out, "\\U", code, 8);
    }
  }
  out.push_back(quote);
  return out;
}

// Writes into one text; nesting is bounded by kMaxValueDepth, size by the charge.
class ReprWriter {
 public:
  explicit ReprWriter(Render& render) : render_(render) {}
  std::string take() && { return std::move(out_); }

  void write(const Value& value) {
    switch (value.type()) {
      case Type::kUndefined:
        return put("Undefined");
      case Type::kString: {
        const std::string text = repr_of_text(value.bytes());
        return put(value.as_text().is_markup ? "Markup(" + text + ")" : text);
      }
      case Type::kList:
        return write_items("[", value.items(), "]");
      case Type::kTuple:
        return write_items("(", value.items(), value.items().size() == 1 ? ",)" : ")");
      case Type::kDictView:
        put(value.view_name());
        return write_items("([", value.items(), "])");
      case Type::kDict:
        return write_entries(value);
      default:
        return put(str(render_, value));
    }
  }

 private:
  void put(const std::string& text) {
    render_.step();
    render_.charge(text.size());
    out_ += text;
  }
  void write_items(const char* open, const std::vector<Value>& items, const char* close) {
    put(open);
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) put(", ");
      write(items[i]);
    }
    put(close);
  }
  void write_entries(const Value& dict) {
    put("{");
    bool is_first = true;
    for (const auto& [key, value] : dict.entries()) {
      if (!std::exchange(is_first, false)) put(", ");
      write(key);
      put(": ");
      write(value);
    }
    put("}");
  }

  Render& render_;
  std::string out_;
};

}  // namespace

std::string str(Render& render, const Value& value) {
  switch (value.type()) {
    case Type::kUndefined:
      return "";
    case Type::kNone:
      return "None";
    case Type::kBool:
      return value.as_bool() ? "True" : "False";
    case Type::kInt:
      return std::to_string(value.as_int());
    case Type::kFloat:
      return float_repr(value.as_float());
    case Type::kString:
      return value.bytes();
    case Type::kRange: {
      const Range& r = value.as_range();
      return r.step == 1 ? concat("range(", r.start, ", ", r.stop, ")")
                         : concat("range(", r.start, ", ", r.stop, ", ", r.step, ")");
    }
    case Type::kMacro:
      return concat("<Macro ", repr_of_text(value.as_macro().definition->text), ">");
    case Type::kIterator:
    case Type::kNamespace:
    case Type::kLoop:
    case Type::kFunction:
      render.fail("printing a ", value.type_name(), " is not built");
    default:
      return repr(render, value);
  }
}
std::string repr(Render& render, const Value& value) {
  ReprWriter writer(render);
  writer.write(value);
  return std::move(writer).take();
}
std::string repr_excerpt(Render& render, const Value& value) {
  if (value.is(Type::kString)) {
    constexpr size_t kMost = 40;
    const std::string& bytes = value.bytes();
    return repr_of_text(
        bytes.size() <= kMost
            ? bytes
            : bytes.substr(0, whole_characters(std::string_view(bytes).substr(0, kMost))) + "...");
  }
  return value.is_number() ? str(render, value) : concat("of type ", value.type_name());
}

std::string html_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

}  // namespace orthant::jinja
