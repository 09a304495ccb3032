// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/arguments.h"
#include "data/jinja/filters.h"
#include "data/jinja/functions.h"
#include "data/jinja/operators.h"
#include "data/jinja/render.h"

namespace orthant::jinja::filters {
namespace {

Arguments without_first(const Arguments& arguments, size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(count));
  return rest;
}
const std::string& name_of(Render& render, const Value& name) {
  if (!name.is(Type::kString))
    render.fail("want the name of a filter or test, got ", name.type_name());
  return name.bytes();
}

// Items of nothing, none or undefined: none at all, and nothing is looked at.
std::function<bool(Value&)> source_of(Render& render, const Value& value) {
  if (!truth(render, value)) return [](Value&) { return false; };
  return iterate(render, value);
}

// Whether an item passes: a test by name, or its truth.
struct Selector {
  bool wanted, by_attribute;
  Arguments arguments;

  bool passes(Render& render, const Value& item) const {
    size_t used = 0;
    Value subject = item;
    if (by_attribute) {
      if (arguments.positional.empty()) render.fail("want the name of an attribute");
      subject = by_path(render, item, arguments.positional[used++], nullptr);
    }
    if (arguments.positional.size() <= used) return truth(render, subject) == wanted;
    const std::string& name = name_of(render, arguments.positional[used++]);
    const TestFunction test = find_test(name);
    if (!test) render.fail("unknown test '", name, "'");
    return test(render, subject, without_first(arguments, used)) == wanted;
  }
};
Value selected(Render& render, const Value& value, Selector selector) {
  return render.iterator(
      [&render, next = source_of(render, value), selector = std::move(selector)](Value& item) {
        while (next(item))
          if (selector.passes(render, item)) return true;
        return false;
      },
      1 + value.depth());
}

Value mapped_by_attribute(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter map", arguments, {"attribute", "default"}, 1);
  const Value path = bound[0], otherwise = bound.value(1, Value::none());
  return render.iterator(
      [&render, next = source_of(render, value), path, otherwise](Value& item) {
        if (!next(item)) return false;
        item = by_path(render, item, path, otherwise.is(Type::kNone) ? nullptr : &otherwise);
        return true;
      },
      1 + value.depth());
}

}  // namespace

Value map(Render& render, const Value& value, const Arguments& arguments) {
  if (arguments.positional.empty()) return mapped_by_attribute(render, value, arguments);
  const std::string& name = name_of(render, arguments.positional[0]);
  const FilterFunction filter = find_filter(name);
  if (!filter) render.fail("unknown filter '", name, "'");
  return render.iterator(
      [&render, next = source_of(render, value), filter,
       rest = without_first(arguments, 1)](Value& item) {
        if (!next(item)) return false;
        item = filter(render, item, rest);
        return true;
      },
      2 + value.depth());
}
Value select(Render& render, const Value& value, const Arguments& arguments) {
  return selected(render, value, {true, false, arguments});
}
Value reject(Render& render, const Value& value, const Arguments& arguments) {
  return selected(render, value, {false, false, arguments});
}
Value selectattr(Render& render, const Value& value, const Arguments& arguments) {
  return selected(render, value, {true, true, arguments});
}
Value rejectattr(Render& render, const Value& value, const Arguments& arguments) {
  return selected(render, value, {false, true, arguments});
}

}  // namespace orthant::jinja::filters
