// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/operators.h"

#include <algorithm>

#include "data/jinja/render.h"

namespace orthant::jinja {

bool truth(Render& render, const Value& value) {
  switch (value.type()) {
    case Type::kUndefined:
    case Type::kNone:
      return false;
    case Type::kBool:
    case Type::kInt:
      return value.as_int() != 0;
    case Type::kFloat:
      return value.as_float() != 0;
    case Type::kLoop:
    case Type::kString:
    case Type::kList:
    case Type::kTuple:
    case Type::kDict:
    case Type::kDictView:
    case Type::kRange:
      return *length(render, value) != 0;
    default:
      return true;
  }
}

namespace {

// Exact also for an integer and a float: long double holds both.
long double wide(const Value& v) {
  return v.is(Type::kFloat) ? static_cast<long double>(v.as_float())
                            : static_cast<long double>(v.as_int());
}

bool equal_items(Render& render, const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!equal(render, a[i], b[i])) return false;
  return true;
}
bool equal_dicts(Render& render, const Value& a, const Value& b) {
  if (a.entries().size() != b.entries().size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = find_key(render, b, key);
    if (!other || !equal(render, value, *other)) return false;
  }
  return true;
}

template <class T>
bool ordered_as(std::string_view op, const T& a, const T& b) {
  if (op == "<") return a < b;
  if (op == "<=") return a <= b;
  if (op == ">") return a > b;
  return a >= b;
}

[[noreturn]] void fail_undefined(Render& render, const Value& value) {
  render.fail(value.why_undefined());
}

}  // namespace

bool equal(Render& render, const Value& a, const Value& b) {
  render.step();
  if (a.is_number() && b.is_number()) return wide(a) == wide(b);
  if (a.type() != b.type()) return false;
  switch (a.type()) {
    case Type::kUndefined:
    case Type::kNone:
      return true;
    case Type::kString:
      return a.bytes() == b.bytes();
    case Type::kList:
    case Type::kTuple:
      return a.identity() == b.identity() || equal_items(render, a.items(), b.items());
    case Type::kDict:
      return a.identity() == b.identity() || equal_dicts(render, a, b);
    case Type::kDictView:
      render.fail("comparing ", a.type_name(), " is not built");
    case Type::kRange: {
      const Range &r = a.as_range(), &s = b.as_range();
      if (r.size() != s.size()) return false;
      return r.size() == 0 || (r.start == s.start && (r.size() == 1 || r.step == s.step));
    }
    default:
      return a.identity() == b.identity();
  }
}

bool ordered(Render& render, std::string_view op, const Value& a, const Value& b) {
  render.step();
  if (a.is(Type::kUndefined)) fail_undefined(render, a);
  if (b.is(Type::kUndefined)) fail_undefined(render, b);
  if (a.is_number() && b.is_number()) return ordered_as(op, wide(a), wide(b));
  if (a.is(Type::kString) && b.is(Type::kString)) return ordered_as(op, a.bytes(), b.bytes());
  if (a.is_sequence() && a.type() == b.type()) {
    const auto &x = a.items(), &y = b.items();
    for (size_t i = 0; i < x.size() && i < y.size(); ++i)
      if (!equal(render, x[i], y[i])) return ordered(render, op, x[i], y[i]);
    return ordered_as(op, x.size(), y.size());
  }
  render.fail("'", op, "' wants numbers, texts, lists or tuples of one kind, got ", a.type_name(),
              " and ", b.type_name());
}

bool contains(Render& render, const Value& container, const Value& item) {
  switch (container.type()) {
    case Type::kString:
      if (!item.is(Type::kString)) render.fail("'in' a text wants a text, got ", item.type_name());
      render.step(container.bytes().size() / 1024);
      return container.bytes().find(item.bytes()) != std::string::npos;
    case Type::kDict:
      if (!is_hashable(item)) render.fail("'in': a key cannot be of type ", item.type_name());
      return find_key(render, container, item) != nullptr;
    default: {
      if (!is_iterable(container))
        render.fail("'in' wants a text, list, tuple or dict, got ", container.type_name());
      const auto next = iterate(render, container);
      for (Value other; next(other);)
        if (equal(render, other, item)) return true;
      return false;
    }
  }
}

bool is_hashable(const Value& value) {
  if (value.is(Type::kTuple))
    return std::all_of(value.items().begin(), value.items().end(), is_hashable);
  return !value.is(Type::kList) && !value.is(Type::kDict) && !value.is(Type::kDictView);
}
const Value* find_key(Render& render, const Value& dict, const Value& key) {
  const auto& entries = dict.entries();
  render.step(1 + entries.size() / 16);
  for (const auto& [known, value] : entries) {
    if (known.is(Type::kString) && key.is(Type::kString)) {
      if (known.bytes() == key.bytes()) return &value;
    } else if ((known.is_number() && key.is_number()) || known.type() == key.type()) {
      if (equal(render, known, key)) return &value;
    }
  }
  return nullptr;
}
Value make_dict(Render& render, std::vector<std::pair<Value, Value>> items) {
  std::vector<std::pair<Value, Value>> kept;
  for (auto& [key, value] : items) {
    if (!is_hashable(key)) render.fail("a dict's key cannot be of type ", key.type_name());
    render.step(1 + kept.size() / 16);
    const auto same = std::find_if(kept.begin(), kept.end(), [&](const auto& entry) {
      return entry.first.type() == key.type() || entry.first.is_number()
                 ? equal(render, entry.first, key)
                 : false;
    });
    if (same != kept.end()) {
      same->second = std::move(value);
    } else {
      kept.emplace_back(std::move(key), std::move(value));
    }
  }
  return render.dict(std::move(kept));
}

std::optional<int64_t> length(Render&, const Value& value) {
  switch (value.type()) {
    case Type::kUndefined:
      return 0;
    case Type::kString:
      return static_cast<int64_t>(value.as_text().length);
    case Type::kList:
    case Type::kTuple:
    case Type::kDictView:
      return static_cast<int64_t>(value.items().size());
    case Type::kDict:
      return static_cast<int64_t>(value.entries().size());
    case Type::kRange:
      return value.as_range().size();
    default:
      return std::nullopt;
  }
}

}  // namespace orthant::jinja
