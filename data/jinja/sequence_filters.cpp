// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "data/jinja/arguments.h"
#include "data/jinja/filters.h"
#include "data/jinja/operators.h"
#include "data/jinja/render.h"
#include "data/jinja/text_operations.h"
#include "data/jinja/unicode.h"

namespace orthant::jinja::filters {

Value by_path(Render& render, const Value& object, const Value& path, const Value* otherwise) {
  if (path.is(Type::kNone)) return object;
  Value found = object;
  const auto descend = [&](const Value& part) {
    found = item(render, found, part);
    if (otherwise && found.is(Type::kUndefined)) found = *otherwise;
  };
  if (!path.is(Type::kString)) {
    if (!path.is_integer())
      render.fail("an attribute wants a text or an integer, got ", path.type_name());
    descend(path);
    return found;
  }
  std::string_view rest = path.bytes();
  while (true) {
    const size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    const bool is_index = !part.empty() && part.size() < 18 &&
                          part.find_first_not_of("0123456789") == std::string::npos;
    descend(is_index ? Value::integer(std::stoll(part)) : render.text(part));
    if (dot == std::string_view::npos) return found;
    rest.remove_prefix(dot + 1);
  }
}
Value sort_key(Render& render, const Value& object, const Value& path, bool case_sensitive) {
  const Value key = by_path(render, object, path, nullptr);
  if (case_sensitive || !key.is(Type::kString)) return key;
  return render.text(with_case(render, key.bytes(), Case::kLower));
}

Value first(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter first", arguments, {});
  Value item;
  return iterate(render, value)(item) ? item : Value::undefined("the first item of nothing");
}
namespace {
bool is_reversible(const Value& value) {
  return is_iterable(value) && !value.is(Type::kIterator) && !value.is(Type::kLoop);
}
}  // namespace
Value last(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter last", arguments, {});
  if (!is_reversible(value))
    render.fail("filter last: want a text, list, tuple, dict or range, got ", value.type_name());
  if (value.is(Type::kString) && !value.bytes().empty())
    return item(render, value, Value::integer(-1));
  const std::vector<Value> items = all_items(render, value);
  return items.empty() ? Value::undefined("the last item of nothing") : items.back();
}
Value list(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter list", arguments, {});
  return render.list(all_items(render, value));
}

Value items(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter items", arguments, {});
  if (!value.is(Type::kDict) && !value.is(Type::kUndefined))
    return render.iterator(
        [&render, value](Value&) -> bool {
          render.fail("filter items: want a dict, got ", value.type_name());
        },
        1);
  return render.iterator(
      [&render, value, i = size_t{0}](Value& item) mutable {
        if (value.is(Type::kUndefined) || i >= value.entries().size()) return false;
        const auto& [key, entry] = value.entries()[i++];
        item = render.tuple({key, entry});
        return true;
      },
      1 + value.depth());
}

namespace {
struct Keyed {
  Value key, item;
};
// Stable, also in reverse, as Python's sorted.
std::vector<Value> sorted(Render& render, std::vector<Keyed> keyed, bool reverse) {
  std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? ordered(render, "<", b.key, a.key) : ordered(render, "<", a.key, b.key);
  });
  std::vector<Value> items;
  for (Keyed& entry : keyed) items.push_back(std::move(entry.item));
  return items;
}
}  // namespace

Value dictsort(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const bool case_sensitive = bound.truth(0, false);
  const std::string by = bound.has(1) ? bound.text(1) : "key";
  if (by != "key" && by != "value") render.fail("filter dictsort: by wants 'key' or 'value'");
  if (!value.is(Type::kDict)) render.fail("filter dictsort: want a dict, got ", value.type_name());
  std::vector<Keyed> keyed;
  for (const auto& [key, entry] : value.entries())
    keyed.push_back({sort_key(render, by == "key" ? key : entry, Value::none(), case_sensitive),
                     render.tuple({key, entry})});
  return render.list(sorted(render, std::move(keyed), bound.integer(2, 0) != 0));
}

Value sort(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const bool case_sensitive = bound.truth(1, false);
  std::vector<Value> paths = {bound.value(2, Value::none())};
  if (paths[0].is(Type::kString)) {  // "age,name"
    std::string_view rest = bound[2].bytes();
    paths.clear();
    for (size_t comma = 0; comma != std::string_view::npos;
         rest.remove_prefix(std::min(comma, rest.size() - 1) + 1)) {
      comma = rest.find(',');
      paths.push_back(render.text(std::string(rest.substr(0, comma))));
      if (comma == std::string_view::npos) break;
    }
  }
  std::vector<Keyed> keyed;
  for (const Value& item : all_items(render, value)) {
    std::vector<Value> key;
    for (const Value& path : paths) key.push_back(sort_key(render, item, path, case_sensitive));
    keyed.push_back({render.list(std::move(key)), item});
  }
  return render.list(sorted(render, std::move(keyed), bound.integer(0, 0) != 0));
}

Value unique(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter unique", arguments, {"case_sensitive", "attribute"});
  const bool case_sensitive = bound.truth(0, false);
  const Value path = bound.value(1, Value::none());
  return render.iterator(
      [&render, next = iterate(render, value), path, case_sensitive,
       seen = std::vector<Value>()](Value& item) mutable {
        while (next(item)) {
          Value key = sort_key(render, item, path, case_sensitive);
          if (!is_hashable(key))
            render.fail("filter unique: want items that can be keys, got ", key.type_name());
          if (std::any_of(seen.begin(), seen.end(),
                          [&](const Value& other) { return equal(render, key, other); }))
            continue;
          seen.push_back(std::move(key));
          return true;
        }
        return false;
      },
      1 + value.depth());
}

Value reverse(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter reverse", arguments, {});
  const Value none = Value::none();
  if (value.is(Type::kString)) return slice(render, value, none, none, Value::integer(-1));
  if (!is_iterable(value)) render.fail("filter reverse: want items, got ", value.type_name());
  const bool gives_list = !is_reversible(value);
  std::vector<Value> items = all_items(render, value);
  std::reverse(items.begin(), items.end());
  const Value reversed = render.list(std::move(items));
  if (gives_list) return reversed;
  return render.iterator(iterate(render, reversed), 1 + reversed.depth());
}

Value batch(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter batch", arguments, {"linecount", "fill_with"}, 1);
  const int64_t size = bound.integer(0, 0);
  if (size <= 0) render.fail("filter batch: want at least 1 item, got ", size);
  const Value fill = bound.value(1, Value::none());
  return render.iterator(
      [&render, next = iterate(render, value), size = static_cast<size_t>(size),
       fill](Value& item) mutable {
        std::vector<Value> row;
        for (Value part; row.size() < size && next(part);) row.push_back(part);
        if (row.empty()) return false;
        if (!fill.is(Type::kNone)) {
          if (size > row.size()) render.charge((size - row.size()) * sizeof(Value));
          row.resize(std::max(size, row.size()), fill);
        }
        item = render.list(std::move(row));
        return true;
      },
      2 + std::max(value.depth(), fill.depth()));
}

}  // namespace orthant::jinja::filters
