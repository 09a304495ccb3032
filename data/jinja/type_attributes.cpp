// SPDX-License-Identifier: Apache-2.0
// Attributes of Python's types: methods of dict, and what is not built.
#include <algorithm>
#include <array>

#include "data/jinja/arguments.h"
#include "data/jinja/functions.h"
#include "data/jinja/methods.h"
#include "data/jinja/operators.h"
#include "data/jinja/render.h"

namespace orthant::jinja {
namespace {

Value items_of(Render& render, const Value& self, const Arguments& arguments) {
  const Bound bound(render, "dict.items", arguments, {});
  std::vector<Value> pairs;
  for (const auto& [key, value] : self.entries()) pairs.push_back(render.tuple({key, value}));
  return render.view("dict_items", std::move(pairs));
}
Value keys_of(Render& render, const Value& self, const Arguments& arguments) {
  const Bound bound(render, "dict.keys", arguments, {});
  std::vector<Value> keys;
  for (const auto& [key, value] : self.entries()) keys.push_back(key);
  return render.view("dict_keys", std::move(keys));
}
Value values_of(Render& render, const Value& self, const Arguments& arguments) {
  const Bound bound(render, "dict.values", arguments, {});
  std::vector<Value> values;
  for (const auto& [key, value] : self.entries()) values.push_back(value);
  return render.view("dict_values", std::move(values));
}
Value get_of(Render& render, const Value& self, const Arguments& arguments) {
  const Bound bound(render, "dict.get", arguments, {"key", "default"}, 1, false);
  if (!is_hashable(bound[0]))
    render.fail("dict.get: a key cannot be of type ", bound[0].type_name());
  const Value* value = find_key(render, self, bound[0]);
  return value ? *value : bound.value(1, Value::none());
}
Value copy_of(Render& render, const Value& self, const Arguments& arguments) {
  const Bound bound(render, "dict.copy", arguments, {});
  return self;
}

constexpr std::array<Method, 5> kDictMethods = {{{"items", items_of},
                                                 {"keys", keys_of},
                                                 {"values", values_of},
                                                 {"get", get_of},
                                                 {"copy", copy_of}}};

// Python's other attributes of each type.  Those that would change a list or dict are not among
// them: the immutable sandbox hides these, so to a template they are undefined.
constexpr std::array<std::string_view, 28> kOtherTextMethods = {
    "casefold",  "center",      "encode",  "expandtabs", "format",   "format_map",   "index",
    "isalnum",   "isalpha",     "isascii", "isdecimal",  "isdigit",  "isidentifier", "islower",
    "isnumeric", "isprintable", "isspace", "istitle",    "isupper",  "ljust",        "maketrans",
    "partition", "rindex",      "rjust",   "rpartition", "swapcase", "translate",    "zfill"};
constexpr std::array<std::string_view, 3> kOtherListMethods = {"copy", "count", "index"};
constexpr std::array<std::string_view, 12> kNumberAttributes = {
    "real",      "imag",     "numerator",  "denominator",      "conjugate",  "bit_length",
    "bit_count", "to_bytes", "from_bytes", "as_integer_ratio", "is_integer", "hex"};

template <class List>
bool is_in(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}
const Method* find_dict_method(std::string_view name) {
  for (const Method& method : kDictMethods)
    if (name == method.name) return &method;
  return nullptr;
}

bool is_unbuilt_attribute(const Value& value, std::string_view name) {
  switch (value.type()) {
    case Type::kString:
      return is_in(kOtherTextMethods, name);
    case Type::kList:
      return is_in(kOtherListMethods, name);
    case Type::kTuple:
      return name == "count" || name == "index";
    case Type::kDict:
      return name == "fromkeys";
    case Type::kBool:
    case Type::kInt:
    case Type::kFloat:
      return is_in(kNumberAttributes, name);
    case Type::kRange:
      return name == "start" || name == "stop" || name == "step" || name == "count" ||
             name == "index";
    case Type::kDictView:
      return name == "mapping" || name == "isdisjoint";
    case Type::kIterator:
      return name == "send" || name == "throw" || name == "close";
    case Type::kMacro:
      return name == "name" || name == "arguments" || name == "catch_kwargs" ||
             name == "catch_varargs" || name == "caller" || name == "explicit_caller";
    default:
      return false;
  }
}

}  // namespace

Value type_attribute(Render& render, const Value& value, std::string_view name) {
  if (is_unbuilt_attribute(value, name))
    render.fail("'.", name, "' of a ", value.type_name(), " is not built");
  const Method* method = value.is(Type::kString) ? find_text_method(name)
                         : value.is(Type::kDict) ? find_dict_method(name)
                                                 : nullptr;
  if (!method) return {};
  return Value::function({concat(value.type_name(), ".", name), value, method->call});
}

bool is_unbuilt_method(std::string_view name) {
  return is_in(kOtherTextMethods, name) || name == "fromkeys";
}

}  // namespace orthant::jinja
