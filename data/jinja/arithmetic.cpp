// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "data/jinja/operators.h"
#include "data/jinja/printing.h"
#include "data/jinja/render.h"

namespace orthant::jinja {
namespace {

[[noreturn]] void fail_types(Render& render, std::string_view op, const Value& a, const Value& b) {
  if (a.is(Type::kUndefined)) render.fail(a.why_undefined());
  if (b.is(Type::kUndefined)) render.fail(b.why_undefined());
  render.fail("'", op, "' has no meaning for ", a.type_name(), " and ", b.type_name());
}
[[noreturn]] void fail_overflow(Render& render, std::string_view op, int64_t a, int64_t b) {
  render.fail("integer overflow: ", a, " ", op, " ", b, " does not fit 64 bits");
}

// floor(a / b) and the remainder, which has b's sign.
int64_t floor_divide(Render& render, int64_t a, int64_t b) {
  if (b == 0) render.fail("division by zero");
  if (b == -1) {
    int64_t negated = 0;
    if (__builtin_sub_overflow(int64_t{0}, a, &negated)) fail_overflow(render, "//", a, b);
    return negated;
  }
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}
int64_t modulo(Render& render, int64_t a, int64_t b) {
  if (b == 0) render.fail("division by zero");
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Value power(Render& render, int64_t a, int64_t b) {
  if (b < 0) {
    if (a == 0) render.fail("zero to a negative power");
    return Value::real(std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
  if (a == 0 || a == 1) return Value::integer(b == 0 ? 1 : a);
  if (a == -1) return Value::integer(b % 2 == 0 ? 1 : -1);
  int64_t value = 1;
  for (int64_t i = 0; i < b; ++i)
    if (__builtin_mul_overflow(value, a, &value)) fail_overflow(render, "**", a, b);
  return Value::integer(value);
}

Value divide(Render& render, int64_t a, int64_t b) {
  constexpr int64_t kExact = int64_t{1} << 53;  // up to there a double holds every integer
  if (b == 0) render.fail("division by zero");
  if (a > kExact || a < -kExact || b > kExact || b < -kExact)
    render.fail("'/' of integers beyond 2^53 is not built");
  return Value::real(static_cast<double>(a) / static_cast<double>(b));
}

Value integers(Render& render, std::string_view op, int64_t a, int64_t b) {
  int64_t value = 0;
  bool overflows = false;
  if (op == "+") {
    overflows = __builtin_add_overflow(a, b, &value);
  } else if (op == "-") {
    overflows = __builtin_sub_overflow(a, b, &value);
  } else if (op == "*") {
    overflows = __builtin_mul_overflow(a, b, &value);
  } else if (op == "/") {
    return divide(render, a, b);
  } else if (op == "//") {
    value = floor_divide(render, a, b);
  } else if (op == "%") {
    value = modulo(render, a, b);
  } else {
    return power(render, a, b);
  }
  if (overflows) fail_overflow(render, op, a, b);
  return Value::integer(value);
}

// Python's float_divmod: the remainder is exact and has b's sign.
Value float_division(std::string_view op, double a, double b) {
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0) {
    if ((b < 0) != (rest < 0)) {
      rest += b;
      quotient -= 1;
    }
  } else {
    rest = std::copysign(0.0, b);
  }
  if (op == "%") return Value::real(rest);
  if (quotient == 0) return Value::real(std::copysign(0.0, a / b));
  const double whole = std::floor(quotient);
  return Value::real(quotient - whole > 0.5 ? whole + 1 : whole);
}

Value floats(Render& render, std::string_view op, double a, double b) {
  if (op == "+") return Value::real(a + b);
  if (op == "-") return Value::real(a - b);
  if (op == "*") return Value::real(a * b);
  if (op == "**") {
    if (a == 0 && b < 0) render.fail("zero to a negative power");
    if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b))
      render.fail("a power that is a complex number is not built");
    const double value = std::pow(a, b);
    if (std::isinf(value) && std::isfinite(a) && std::isfinite(b))
      render.fail("float overflow: ", a, " ** ", b);
    return Value::real(value);
  }
  if (b == 0) render.fail("division by zero");
  if (op == "/") return Value::real(a / b);
  return float_division(op, a, b);
}

Value repeated(Render& render, const Value& value, int64_t times) {
  const size_t count = times > 0 ? static_cast<size_t>(times) : 0;
  const bool is_text = value.is(Type::kString);
  const size_t size = is_text ? value.bytes().size() : value.items().size() * sizeof(Value);
  if (size > 0 && count > kMaxBytes / size) render.charge(kMaxBytes + 1);
  render.charge(size * count);
  if (is_text) {
    std::string text;
    for (size_t i = 0; i < count && size > 0; ++i) text += value.bytes();
    return Value::text(std::move(text), value.as_text().is_markup);
  }
  std::vector<Value> items;
  for (size_t i = 0; i < count && size > 0; ++i)
    items.insert(items.end(), value.items().begin(), value.items().end());
  return value.is(Type::kList) ? render.list(std::move(items)) : render.tuple(std::move(items));
}

// What is added to a text that is marked safe is escaped, as Markup does.
Value joined(Render& render, const Value& a, const Value& b) {
  const bool is_markup = a.as_text().is_markup || b.as_text().is_markup;
  const auto part = [&](const Value& value) {
    return is_markup && !value.as_text().is_markup ? html_escaped(value.bytes()) : value.bytes();
  };
  return render.text(part(a) + part(b), is_markup);
}

}  // namespace

Value binary(Render& render, std::string_view op, const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer()) return integers(render, op, a.as_int(), b.as_int());
  if (a.is_number() && b.is_number()) return floats(render, op, a.as_float(), b.as_float());
  if (op == "+" && a.type() == b.type()) {
    if (a.is(Type::kString)) return joined(render, a, b);
    if (a.is_sequence()) {
      render.charge(b.items().size() * sizeof(Value));
      std::vector<Value> items = a.items();
      items.insert(items.end(), b.items().begin(), b.items().end());
      return a.is(Type::kList) ? render.list(std::move(items)) : render.tuple(std::move(items));
    }
  }
  if (op == "*") {
    const auto repeats = [](const Value& v) { return v.is(Type::kString) || v.is_sequence(); };
    if (repeats(a) && b.is_integer()) return repeated(render, a, b.as_int());
    if (repeats(b) && a.is_integer()) return repeated(render, b, a.as_int());
  }
  if (op == "%" && a.is(Type::kString)) render.fail("formatting a string with '%' is not built");
  if (op == "-" && a.is(Type::kDictView) && b.is(Type::kDictView))
    render.fail("set operations on ", a.type_name(), " are not built");
  fail_types(render, op, a, b);
}

Value unary(Render& render, std::string_view op, const Value& value) {
  if (value.is(Type::kUndefined)) render.fail(value.why_undefined());
  if (value.is(Type::kFloat)) return Value::real(op == "-" ? -value.as_float() : value.as_float());
  if (!value.is_integer()) render.fail("'", op, "' wants a number, got ", value.type_name());
  return integers(render, op, 0, value.as_int());
}

}  // namespace orthant::jinja
