// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/value.h"

#include <algorithm>

#include "data/jinja/unicode.h"

namespace orthant::jinja {

int64_t Range::size() const {
  if (step > 0) return start < stop ? (stop - start - 1) / step + 1 : 0;
  return start > stop ? (start - stop - 1) / -step + 1 : 0;
}

Value Value::made(Type type, std::shared_ptr<void> object) {
  Value value;
  value.type_ = type;
  value.object_ = std::move(object);
  return value;
}
Value Value::undefined(std::string why) {
  return made(Type::kUndefined, std::make_shared<std::string>(std::move(why)));
}
Value Value::none() { return made(Type::kNone, nullptr); }
Value Value::boolean(bool value) {
  Value made_value = made(Type::kBool, nullptr);
  made_value.integer_ = value ? 1 : 0;
  return made_value;
}
Value Value::integer(int64_t value) {
  Value made_value = made(Type::kInt, nullptr);
  made_value.integer_ = value;
  return made_value;
}
Value Value::real(double value) {
  Value made_value = made(Type::kFloat, nullptr);
  made_value.real_ = value;
  return made_value;
}
Value Value::text(std::string bytes, bool is_markup) {
  const size_t length = num_code_points(bytes);
  return made(Type::kString, std::make_shared<Text>(Text{std::move(bytes), length, is_markup}));
}

Value Value::sequence(Type type, std::vector<Value> items, const char* view) {
  auto object = std::make_shared<Sequence>();
  for (const Value& item : items) object->depth = std::max(object->depth, 1 + item.depth());
  object->items = std::move(items);
  object->view = view;
  return made(type, std::move(object));
}
Value Value::view(const char* name, std::vector<Value> items) {
  return sequence(Type::kDictView, std::move(items), name);
}
Value Value::dict(std::vector<std::pair<Value, Value>> items) {
  auto object = std::make_shared<Dict>();
  for (const auto& [key, item] : items)
    object->depth = std::max({object->depth, 1 + key.depth(), 1 + item.depth()});
  object->items = std::move(items);
  return made(Type::kDict, std::move(object));
}
Value Value::range(Range range) { return made(Type::kRange, std::make_shared<Range>(range)); }
Value Value::iterator(std::function<bool(Value&)> next, int depth) {
  return made(Type::kIterator, std::make_shared<Iterator>(Iterator{std::move(next), depth}));
}
Value Value::name_space(std::shared_ptr<Namespace> space) {
  return made(Type::kNamespace, std::move(space));
}
Value Value::loop(std::shared_ptr<Loop> loop) { return made(Type::kLoop, std::move(loop)); }
Value Value::macro(std::shared_ptr<const Macro> macro) {
  return made(Type::kMacro, std::const_pointer_cast<Macro>(std::move(macro)));
}
Value Value::function(Function function) {
  return made(Type::kFunction, std::make_shared<Function>(std::move(function)));
}

const char* Value::type_name() const {
  switch (type_) {
    case Type::kUndefined:
      return "Undefined";
    case Type::kNone:
      return "NoneType";
    case Type::kBool:
      return "bool";
    case Type::kInt:
      return "int";
    case Type::kFloat:
      return "float";
    case Type::kString:
      return "str";
    case Type::kList:
      return "list";
    case Type::kTuple:
      return "tuple";
    case Type::kDict:
      return "dict";
    case Type::kDictView:
      return view_name();
    case Type::kRange:
      return "range";
    case Type::kIterator:
      return "generator";
    case Type::kNamespace:
      return "Namespace";
    case Type::kLoop:
      return "LoopContext";
    case Type::kMacro:
      return "Macro";
    case Type::kFunction:
      return "function";
  }
  return "";
}

const std::vector<Value>& Value::items() const {
  return static_cast<const Sequence*>(object_.get())->items;
}
const char* Value::view_name() const { return static_cast<const Sequence*>(object_.get())->view; }
const std::vector<std::pair<Value, Value>>& Value::entries() const {
  return static_cast<const Dict*>(object_.get())->items;
}
std::string Value::why_undefined() const {
  return object_ ? *static_cast<const std::string*>(object_.get()) : "an undefined value";
}

int Value::depth() const {
  switch (type_) {
    case Type::kList:
    case Type::kTuple:
    case Type::kDictView:
      return static_cast<const Sequence*>(object_.get())->depth;
    case Type::kDict:
      return static_cast<const Dict*>(object_.get())->depth;
    case Type::kIterator:
      return as_iterator().depth;
    case Type::kFunction:
      return 1 + as_function().self.depth();
    default:
      return 0;
  }
}

}  // namespace orthant::jinja
