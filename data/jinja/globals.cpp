// SPDX-License-Identifier: Apache-2.0
// Functions that every template can call.
#include "data/jinja/arguments.h"
#include "data/jinja/functions.h"
#include "data/jinja/operators.h"
#include "data/jinja/printing.h"
#include "data/jinja/render.h"

namespace orthant::jinja {
namespace {

Value make_range(Render& render, const Value&, const Arguments& arguments) {
  const Bound bound(render, "range", arguments, {"start", "stop", "step"}, 1, false);
  Range range;
  if (bound.has(1)) {
    range = {bound.integer(0, 0), bound.integer(1, 0), bound.integer(2, 1)};
  } else {
    range.stop = bound.integer(0, 0);
  }
  if (range.step == 0) render.fail("range: the step is zero");
  constexpr int64_t kFar = int64_t{1} << 60;  // within which the arithmetic cannot overflow
  for (const int64_t part : {range.start, range.stop, range.step})
    if (part > kFar || part < -kFar) render.fail("range: ", part, " is not built");
  if (range.size() > kMaxRange)
    render.fail("range: ", range.size(), " items; want at most ", kMaxRange);
  return Value::range(range);
}

// The entries that dict(...) and namespace(...) are made of.
std::vector<std::pair<Value, Value>> entries_from(Render& render, const char* function,
                                                  const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> entries;
  if (arguments.positional.size() > 1)
    render.fail(function, ": want at most 1 argument without a name, got ",
                arguments.positional.size());
  for (const Value& from : arguments.positional) {
    if (from.is(Type::kDict)) {
      entries = from.entries();
      continue;
    }
    for (const Value& pair : all_items(render, from)) {
      std::vector<Value> parts = all_items(render, pair);
      if (parts.size() != 2) render.fail(function, ": want pairs, got ", parts.size(), " values");
      entries.emplace_back(std::move(parts[0]), std::move(parts[1]));
    }
  }
  for (const auto& [name, value] : arguments.named) entries.emplace_back(render.text(name), value);
  return entries;
}
Value make_dict_of(Render& render, const Value&, const Arguments& arguments) {
  return make_dict(render, entries_from(render, "dict", arguments));
}
Value make_namespace(Render& render, const Value&, const Arguments& arguments) {
  const Value dict = make_dict(render, entries_from(render, "namespace", arguments));
  auto space = std::make_shared<Namespace>();
  for (const auto& [key, value] : dict.entries()) {
    if (!key.is(Type::kString)) render.fail("namespace: want names, got ", key.type_name());
    if (key.bytes().starts_with('_'))
      render.fail("namespace: '", key.bytes(), "' begins with an underscore");
    space->attributes.emplace_back(key.bytes(), value);
  }
  return render.name_space(std::move(space));
}

Value raise_exception(Render& render, const Value&, const Arguments& arguments) {
  const Bound bound(render, "raise_exception", arguments, {"message"}, 1);
  render.fail("the template refuses: ", str(render, bound[0]));
}
Value strftime_now(Render& render, const Value&, const Arguments& arguments) {
  const Bound bound(render, "strftime_now", arguments, {"format"}, 1);
  return render.text(render.now(bound.text(0)));
}

}  // namespace

Value global_function(std::string_view name) {
  if (name == "range") return Value::function({"range", {}, make_range});
  if (name == "dict") return Value::function({"dict", {}, make_dict_of});
  if (name == "namespace") return Value::function({"namespace", {}, make_namespace});
  if (name == "raise_exception") return Value::function({"raise_exception", {}, raise_exception});
  if (name == "strftime_now") return Value::function({"strftime_now", {}, strftime_now});
  return {};
}
bool is_unbuilt_global(std::string_view name) {
  return name == "joiner" || name == "cycler" || name == "lipsum";
}

}  // namespace orthant::jinja
