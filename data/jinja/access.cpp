// SPDX-License-Identifier: Apache-2.0
// Attributes, items, slices and iteration.
#include <algorithm>

#include "data/jinja/functions.h"
#include "data/jinja/operators.h"
#include "data/jinja/printing.h"
#include "data/jinja/render.h"
#include "data/jinja/scope.h"
#include "data/jinja/unicode.h"

namespace orthant::jinja {
namespace {

Value no_attribute(const Value& object, std::string_view name) {
  return Value::undefined(concat(object.type_name(), " has no '", name, "'"));
}

// Item `index` of a text, list, tuple or range; undefined where there is none.
Value at_index(Render& render, const Value& object, int64_t index) {
  const int64_t size = *length(render, object);
  if (index < 0) index += size;
  if (index < 0 || index >= size)
    return Value::undefined(
        concat("index ", index, " is outside of ", object.type_name(), " of ", size));
  if (object.is(Type::kRange)) {
    const Range& range = object.as_range();
    return Value::integer(range.start + index * range.step);
  }
  if (!object.is(Type::kString)) return object.items()[static_cast<size_t>(index)];
  const Text& text = object.as_text();
  if (text.is_ascii())
    return render.text_like(object, text.bytes.substr(static_cast<size_t>(index), 1));
  render.step(static_cast<size_t>(index) / 64);
  size_t end = byte_offset(text.bytes, static_cast<size_t>(index));
  const size_t begin = end;
  next_code_point(text.bytes, end);
  return render.text_like(object, text.bytes.substr(begin, end - begin));
}

struct Bounds {
  int64_t start, step, count;
};
// PySlice_AdjustIndices.
Bounds bounds_of(Render& render, int64_t size, const Value& start, const Value& stop,
                 const Value& step) {
  for (const Value* part : {&start, &stop, &step})
    if (!part->is(Type::kNone) && !part->is_integer())
      render.fail("a slice wants integers, got ", part->type_name());
  const int64_t by = step.is(Type::kNone) ? 1 : step.as_int();
  if (by == 0) render.fail("a slice's step is zero");
  const auto clipped = [&](const Value& value, int64_t otherwise) {
    if (value.is(Type::kNone)) return otherwise;
    int64_t index = value.as_int();
    const int64_t low = by < 0 ? -1 : 0, high = by < 0 ? size - 1 : size;
    if (index < 0) return std::max(index + size, low);
    return std::min(index, high);
  };
  const int64_t from = clipped(start, by < 0 ? size - 1 : 0);
  const int64_t to = clipped(stop, by < 0 ? -1 : size);
  return {from, by, Range{from, to, std::max(by, -size - 1)}.size()};
}

}  // namespace

Value attribute(Render& render, const Value& object, std::string_view name) {
  if (object.is(Type::kUndefined))
    render.fail(object.why_undefined(), ", so it has no '", name, "'");
  if (object.is(Type::kLoop)) return object.as_loop().attribute(render, object, name);
  if (object.is(Type::kNamespace)) {
    if (name.starts_with('_')) return no_attribute(object, name);
    for (const auto& [known, value] : object.as_namespace().attributes)
      if (known == name) return value;
    return no_attribute(object, name);
  }
  const Value of_type = type_attribute(render, object, name);
  if (!of_type.is(Type::kUndefined)) return of_type;
  if (object.is(Type::kDict))
    if (const Value* value = find_key(render, object, Value::text(std::string(name))))
      return *value;
  return no_attribute(object, name);
}

Value item(Render& render, const Value& object, const Value& key) {
  switch (object.type()) {
    case Type::kUndefined:
      render.fail(object.why_undefined(), ", so it has no items");
    case Type::kString:
    case Type::kList:
    case Type::kTuple:
    case Type::kRange:
      if (key.is_integer()) return at_index(render, object, key.as_int());
      break;
    case Type::kDict:
      if (is_hashable(key))
        if (const Value* value = find_key(render, object, key)) return *value;
      break;
    default:
      break;
  }
  if (key.is(Type::kString)) {
    if (object.is(Type::kDict)) {
      const Value of_type = type_attribute(render, object, key.bytes());
      return of_type.is(Type::kUndefined) ? no_attribute(object, key.bytes()) : of_type;
    }
    return attribute(render, object, key.bytes());
  }
  return Value::undefined(concat(object.type_name(), " has no item ", repr_excerpt(render, key)));
}

Value slice(Render& render, const Value& object, const Value& start, const Value& stop,
            const Value& step) {
  if (object.is(Type::kUndefined)) render.fail(object.why_undefined(), ", so it has no slices");
  if (!object.is(Type::kString) && !object.is_sequence())
    render.fail("a slice wants a text, list or tuple, got ", object.type_name());
  const Bounds bounds = bounds_of(render, *length(render, object), start, stop, step);
  const auto index = [&](int64_t i) { return static_cast<size_t>(bounds.start + i * bounds.step); };
  if (object.is(Type::kString)) {
    const Text& text = object.as_text();
    if (text.is_ascii() && bounds.step == 1)
      return render.text_like(
          object,
          bounds.count ? text.bytes.substr(index(0), static_cast<size_t>(bounds.count)) : "");
    render.charge(text.length * sizeof(char32_t));
    const std::u32string codes = code_points(text.bytes);
    std::u32string picked;
    for (int64_t i = 0; i < bounds.count; ++i) picked.push_back(codes[index(i)]);
    return render.text_like(object, utf8(picked));
  }
  std::vector<Value> items;
  for (int64_t i = 0; i < bounds.count; ++i) items.push_back(object.items()[index(i)]);
  return object.is(Type::kList) ? render.list(std::move(items)) : render.tuple(std::move(items));
}

bool is_iterable(const Value& value) {
  switch (value.type()) {
    case Type::kUndefined:
    case Type::kString:
    case Type::kList:
    case Type::kTuple:
    case Type::kDict:
    case Type::kDictView:
    case Type::kRange:
    case Type::kIterator:
    case Type::kLoop:
      return true;
    default:
      return false;
  }
}

std::function<bool(Value&)> iterate(Render& render, const Value& value) {
  switch (value.type()) {
    case Type::kUndefined:
      return [](Value&) { return false; };
    case Type::kString:
      return [&render, value, at = size_t{0}](Value& item) mutable {
        if (at >= value.bytes().size()) return false;
        const size_t begin = at;
        next_code_point(value.bytes(), at);
        item = render.text(value.bytes().substr(begin, at - begin));  // marked no more
        render.step();
        return true;
      };
    case Type::kDict:
      return [&render, value, i = size_t{0}](Value& item) mutable {
        if (i >= value.entries().size()) return false;
        item = value.entries()[i++].first;
        render.step();
        return true;
      };
    case Type::kIterator:
      return [&render, value](Value& item) {
        render.step();
        return value.as_iterator().next(item);
      };
    case Type::kRange:
    case Type::kList:
    case Type::kTuple:
    case Type::kDictView:
      return [&render, value, i = int64_t{0}, size = *length(render, value)](Value& item) mutable {
        if (i >= size) return false;
        item = value.is(Type::kRange) ? at_index(render, value, i)
                                      : value.items()[static_cast<size_t>(i)];
        ++i;
        render.step();
        return true;
      };
    case Type::kLoop:
      render.fail("iterating over 'loop' is not built");
    default:
      render.fail(value.type_name(), " has no items to go through");
  }
}
std::vector<Value> all_items(Render& render, const Value& value) {
  std::vector<Value> items;
  const auto next = iterate(render, value);
  for (Value item; next(item);) items.push_back(item);
  return items;
}

}  // namespace orthant::jinja
