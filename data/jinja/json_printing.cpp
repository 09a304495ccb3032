// SPDX-License-Identifier: Apache-2.0
// json.dumps.
#include <algorithm>
#include <cmath>

#include "data/jinja/literals.h"
#include "data/jinja/operators.h"
#include "data/jinja/printing.h"
#include "data/jinja/render.h"
#include "data/jinja/unicode.h"

namespace orthant::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(Render& render, const JsonFormat& format) : render_(render), format_(format) {}
  std::string take() && { return std::move(out_); }

  void write(const Value& value) {
    switch (value.type()) {
      case Type::kNone:
      case Type::kBool:
      case Type::kInt:
      case Type::kFloat:
        return put(scalar(value));
      case Type::kString:
        return write_text(value.bytes());
      case Type::kList:
      case Type::kTuple:
        return write_items(value.items());
      case Type::kDict:
        return write_entries(value);
      default:
        render_.fail("tojson: JSON has no ", value.type_name());
    }
  }

 private:
  static std::string scalar(const Value& value) {
    if (value.is(Type::kNone)) return "null";
    if (value.is(Type::kBool)) return value.as_bool() ? "true" : "false";
    if (value.is(Type::kInt)) return std::to_string(value.as_int());
    const double real = value.as_float();
    if (std::isnan(real)) return "NaN";
    if (std::isinf(real)) return real < 0 ? "-Infinity" : "Infinity";
    return float_repr(real);
  }
  void put(std::string_view text) {
    render_.step();
    render_.charge(text.size());
    out_ += text;
  }
  void write_text(std::string_view text) {
    std::string quoted = "\"";
    for (size_t at = 0; at < text.size();) append_character(quoted, next_code_point(text, at));
    put(quoted + "\"");
  }
  void append_character(std::string& out, char32_t code) const {
    static constexpr std::string_view kRaw = "\"\\\n\r\t\b\f", kNames = "\"\\nrtbf";
    if (const size_t i = code < 0x80 ? kRaw.find(static_cast<char>(code)) : std::string_view::npos;
        i != std::string_view::npos) {
      out.push_back('\\');
      out.push_back(kNames[i]);
    } else if (code < ' ' || (format_.ensure_ascii && code >= 0x7F && code < 0x10000)) {
      append_hex(out, "\\u", code, 4);
    } else if (format_.ensure_ascii && code >= 0x10000) {
      append_hex(out, "\\u", 0xD800 + ((code - 0x10000) >> 10), 4);
      append_hex(out, "\\u", 0xDC00 + ((code - 0x10000) & 0x3FF), 4);
    } else {
      append_utf8(out, code);
    }
  }
  void new_line() {
    if (!format_.indent) return;
    std::string line = "\n";
    for (int i = 0; i < depth_; ++i) line += *format_.indent;
    put(line);
  }
  void write_items(const std::vector<Value>& items) {
    if (items.empty()) return put("[]");
    put("[");
    ++depth_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) put(format_.item_separator);
      new_line();
      write(items[i]);
    }
    --depth_;
    new_line();
    put("]");
  }
  void write_entries(const Value& dict) {
    auto entries = dict.entries();
    if (entries.empty()) return put("{}");
    if (format_.sort_keys)
      std::stable_sort(entries.begin(), entries.end(), [&](const auto& a, const auto& b) {
        return ordered(render_, "<", a.first, b.first);
      });
    put("{");
    ++depth_;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) put(format_.item_separator);
      new_line();
      write_key(entries[i].first);
      put(format_.key_separator);
      write(entries[i].second);
    }
    --depth_;
    new_line();
    put("}");
  }
  void write_key(const Value& key) {
    if (key.is(Type::kString)) return write_text(key.bytes());
    if (!key.is_number() && !key.is(Type::kNone))
      render_.fail("tojson: a key of JSON cannot be of type ", key.type_name());
    put(concat("\"", scalar(key), "\""));
  }

  Render& render_;
  const JsonFormat& format_;
  std::string out_;
  int depth_ = 0;
};

}  // namespace

std::string to_json(Render& render, const Value& value, const JsonFormat& format) {
  JsonWriter writer(render, format);
  writer.write(value);
  return std::move(writer).take();
}

}  // namespace orthant::jinja
