// SPDX-License-Identifier: Apache-2.0
// A value of a template, with the meaning that Python's value has.
//
// Values are cheap to copy.  What they hold is shared and never changes, but for namespaces, loops
// and iterators, which belong to one rendering.  Lists, dicts and iterators know how deeply they
// are nested; Render (render.h) bounds that, so that recursion over a value is bounded too.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orthant::jinja {

class Render;
class Value;
struct Arguments;
struct Macro;
struct Loop;

enum class Type : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kDictView,  // dict.keys(), .values(), .items()
  kRange,
  kIterator,  // what map, select, ... give: read once, counts and indexes nothing
  kNamespace,
  kLoop,
  kMacro,
  kFunction,  // a global function, or a method with its object
};

struct Text {
  std::string bytes;
  size_t length = 0;       // code points
  bool is_markup = false;  // came out of `safe` or `escape`: what is added to it is escaped
  bool is_ascii() const { return length == bytes.size(); }
};
struct Sequence;  // list, tuple, dict view
struct Dict;
struct Range {
  int64_t start = 0, stop = 0, step = 1;
  int64_t size() const;
};
struct Iterator {
  std::function<bool(Value&)> next;  // false at the end
  int depth = 1;
};
struct Namespace;
struct Function;

class Value {
 public:
  Value() = default;  // undefined, and no word on why
  static Value undefined(std::string why);
  static Value none();
  static Value boolean(bool value);
  static Value integer(int64_t value);
  static Value real(double value);
  static Value text(std::string bytes, bool is_markup = false);
  static Value list(std::vector<Value> items) { return sequence(Type::kList, std::move(items)); }
  static Value tuple(std::vector<Value> items) { return sequence(Type::kTuple, std::move(items)); }
  static Value dict(std::vector<std::pair<Value, Value>> items);
  static Value view(const char* name, std::vector<Value> items);  // "dict_keys", ...
  static Value range(Range range);
  static Value iterator(std::function<bool(Value&)> next, int depth);
  static Value name_space(std::shared_ptr<Namespace> space);
  static Value loop(std::shared_ptr<Loop> loop);
  static Value macro(std::shared_ptr<const Macro> macro);
  static Value function(Function function);

  Type type() const { return type_; }
  bool is(Type type) const { return type_ == type; }
  bool is_integer() const { return type_ == Type::kInt || type_ == Type::kBool; }  // Python's int
  bool is_number() const { return is_integer() || type_ == Type::kFloat; }
  bool is_sequence() const { return type_ == Type::kList || type_ == Type::kTuple; }
  const char* type_name() const;  // Python's

  // Each for its own type only.
  bool as_bool() const { return integer_ != 0; }
  int64_t as_int() const { return integer_; }  // also of a boolean
  double as_float() const { return type_ == Type::kFloat ? real_ : static_cast<double>(integer_); }
  const Text& as_text() const { return *static_cast<const Text*>(object_.get()); }
  const std::string& bytes() const { return as_text().bytes; }
  const std::vector<Value>& items() const;  // list, tuple, view
  const char* view_name() const;
  const std::vector<std::pair<Value, Value>>& entries() const;
  const Range& as_range() const { return *static_cast<const Range*>(object_.get()); }
  Iterator& as_iterator() const { return *static_cast<Iterator*>(object_.get()); }
  Namespace& as_namespace() const { return *static_cast<Namespace*>(object_.get()); }
  Loop& as_loop() const { return *static_cast<Loop*>(object_.get()); }
  const Macro& as_macro() const { return *static_cast<const Macro*>(object_.get()); }
  const Function& as_function() const { return *static_cast<const Function*>(object_.get()); }
  std::string why_undefined() const;

  const void* identity() const { return object_.get(); }
  int depth() const;  // 0 for what holds no values

 private:
  static Value sequence(Type type, std::vector<Value> items, const char* view = "");
  static Value made(Type type, std::shared_ptr<void> object);

  Type type_ = Type::kUndefined;
  union {
    int64_t integer_ = 0;
    double real_;
  };
  std::shared_ptr<void> object_;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

struct Sequence {
  std::vector<Value> items;
  int depth = 1;
  const char* view = "";
};
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  int depth = 1;
};
struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
};
struct Function {
  std::string name;  // "range", "str.split"
  Value self;        // of a method
  Value (*call)(Render&, const Value& self, const Arguments&) = nullptr;
};

}  // namespace orthant::jinja
