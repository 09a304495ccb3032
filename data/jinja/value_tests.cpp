// SPDX-License-Identifier: Apache-2.0
// Tests: what stands behind `is`.
#include <algorithm>
#include <array>

#include "data/jinja/arguments.h"
#include "data/jinja/functions.h"
#include "data/jinja/operators.h"
#include "data/jinja/printing.h"
#include "data/jinja/render.h"
#include "data/jinja/unicode.h"

namespace orthant::jinja {
namespace {

void takes_nothing(Render& render, const Arguments& arguments) {
  const Bound bound(render, "test", arguments, {});
}
Value argument_of(Render& render, const Arguments& arguments) {
  return Bound(render, "test", arguments, {"other"}, 1)[0];
}

template <bool (*kIs)(const Value&)>
bool is_kind(Render& render, const Value& value, const Arguments& arguments) {
  takes_nothing(render, arguments);
  return kIs(value);
}
template <Type kType>
bool has_type(const Value& value) {
  return value.is(kType);
}
bool is_defined(const Value& value) { return !value.is(Type::kUndefined); }
bool is_true(const Value& value) { return value.is(Type::kBool) && value.as_bool(); }
bool is_false(const Value& value) { return value.is(Type::kBool) && !value.as_bool(); }
bool is_number(const Value& value) { return value.is_number(); }
bool is_sequence(const Value& value) {  // has a length and items
  return value.is(Type::kUndefined) || value.is(Type::kString) || value.is_sequence() ||
         value.is(Type::kDict) || value.is(Type::kRange);
}
bool is_callable(const Value& value) {
  return value.is(Type::kFunction) || value.is(Type::kMacro) || value.is(Type::kLoop) ||
         value.is(Type::kUndefined);
}
bool is_escaped(const Value& value) { return value.is(Type::kString) && value.as_text().is_markup; }

bool remainder_is(Render& render, const Value& value, const Value& by, int64_t wanted) {
  return equal(render, binary(render, "%", value, by), Value::integer(wanted));
}
bool test_odd(Render& render, const Value& value, const Arguments& arguments) {
  takes_nothing(render, arguments);
  return remainder_is(render, value, Value::integer(2), 1);
}
bool test_even(Render& render, const Value& value, const Arguments& arguments) {
  takes_nothing(render, arguments);
  return remainder_is(render, value, Value::integer(2), 0);
}
bool test_divisibleby(Render& render, const Value& value, const Arguments& arguments) {
  return remainder_is(render, value, Bound(render, "test divisibleby", arguments, {"num"}, 1)[0],
                      0);
}
bool test_in(Render& render, const Value& value, const Arguments& arguments) {
  return contains(render, Bound(render, "test in", arguments, {"seq"}, 1)[0], value);
}
bool test_eq(Render& render, const Value& value, const Arguments& arguments) {
  return equal(render, value, argument_of(render, arguments));
}
bool test_ne(Render& render, const Value& value, const Arguments& arguments) {
  return !equal(render, value, argument_of(render, arguments));
}
enum class Order { kLess, kLessEqual, kGreater, kGreaterEqual };
template <Order kOrder>
bool test_order(Render& render, const Value& value, const Arguments& arguments) {
  constexpr const char* kOperator = kOrder == Order::kLess        ? "<"
                                    : kOrder == Order::kLessEqual ? "<="
                                    : kOrder == Order::kGreater   ? ">"
                                                                  : ">=";
  return ordered(render, kOperator, value, argument_of(render, arguments));
}

// Only what is one object in Python too, whatever made it.
bool test_sameas(Render& render, const Value& value, const Arguments& arguments) {
  const Value other = argument_of(render, arguments);
  const auto is_single = [](const Value& v) { return v.is(Type::kNone) || v.is(Type::kBool); };
  if (!is_single(value) && !is_single(other))
    render.fail("test sameas of anything but none, true and false is not built");
  return value.type() == other.type() &&
         (value.is(Type::kNone) || value.as_bool() == other.as_bool());
}

template <bool kUpper>
bool test_case(Render& render, const Value& value, const Arguments& arguments) {
  takes_nothing(render, arguments);
  const std::string text = str(render, value);
  const auto result = kUpper ? is_upper(text) : is_lower(text);
  if (!result) render.fail("tests lower and upper: letters without case are not built");
  return *result;
}

struct Test {
  std::string_view name;
  TestFunction call;
};
constexpr std::array<Test, 37> kTests = {{
    {"defined", is_kind<is_defined>},
    {"undefined", is_kind<has_type<Type::kUndefined>>},
    {"none", is_kind<has_type<Type::kNone>>},
    {"boolean", is_kind<has_type<Type::kBool>>},
    {"true", is_kind<is_true>},
    {"false", is_kind<is_false>},
    {"integer", is_kind<has_type<Type::kInt>>},
    {"float", is_kind<has_type<Type::kFloat>>},
    {"number", is_kind<is_number>},
    {"string", is_kind<has_type<Type::kString>>},
    {"mapping", is_kind<has_type<Type::kDict>>},
    {"sequence", is_kind<is_sequence>},
    {"iterable", is_kind<is_iterable>},
    {"callable", is_kind<is_callable>},
    {"escaped", is_kind<is_escaped>},
    {"odd", test_odd},
    {"even", test_even},
    {"divisibleby", test_divisibleby},
    {"in", test_in},
    {"sameas", test_sameas},
    {"lower", test_case<false>},
    {"upper", test_case<true>},
    {"==", test_eq},
    {"eq", test_eq},
    {"equalto", test_eq},
    {"!=", test_ne},
    {"ne", test_ne},
    {"<", test_order<Order::kLess>},
    {"lt", test_order<Order::kLess>},
    {"lessthan", test_order<Order::kLess>},
    {"<=", test_order<Order::kLessEqual>},
    {"le", test_order<Order::kLessEqual>},
    {">", test_order<Order::kGreater>},
    {"gt", test_order<Order::kGreater>},
    {"greaterthan", test_order<Order::kGreater>},
    {">=", test_order<Order::kGreaterEqual>},
    {"ge", test_order<Order::kGreaterEqual>},
}};

}  // namespace

TestFunction find_test(std::string_view name) {
  for (const Test& test : kTests)
    if (test.name == name) return test.call;
  return nullptr;
}
bool is_unbuilt_test(std::string_view name) { return name == "filter" || name == "test"; }

}  // namespace orthant::jinja
