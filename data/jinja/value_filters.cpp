// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "data/jinja/arguments.h"
#include "data/jinja/filters.h"
#include "data/jinja/literals.h"
#include "data/jinja/operators.h"
#include "data/jinja/render.h"

namespace orthant::jinja::filters {

Value default_value(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter default", arguments, {"default_value", "boolean"});
  const bool is_absent =
      value.is(Type::kUndefined) || (bound.truth(1, false) && !truth(render, value));
  return is_absent ? bound.value(0, render.text("")) : value;
}
Value length(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter length", arguments, {});
  if (value.is(Type::kLoop)) return attribute(render, value, "length");
  const auto size = jinja::length(render, value);
  if (!size) render.fail("filter length: a ", value.type_name(), " has no length");
  return Value::integer(*size);
}

namespace {

Value int_of_real(Render& render, double value) {
  if (!(std::fabs(value) < 9.2e18)) render.fail("filter int: ", value, " does not fit 64 bits");
  return Value::integer(static_cast<int64_t>(value));
}
// int(text), and where that is none int(float(text)).
Value int_of_text(Render& render, const std::string& text, const Value& otherwise) {
  int64_t value = 0;
  switch (parse_int(text, value)) {
    case ParseFault::kNone:
      return Value::integer(value);
    case ParseFault::kTooLarge:
      render.fail("filter int: ", text, " does not fit 64 bits");
    case ParseFault::kMalformed:
      break;
  }
  const auto real = parse_float(text);
  if (!real || !std::isfinite(*real)) return otherwise;
  return int_of_real(render, *real);
}

}  // namespace

Value to_int(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter int", arguments, {"default", "base"});
  const Value otherwise = bound.value(0, Value::integer(0));
  if (value.is(Type::kUndefined)) render.fail(value.why_undefined());
  if (value.is(Type::kString)) {
    if (bound.integer(1, 10) != 10) render.fail("filter int: a base other than 10 is not built");
    return int_of_text(render, value.bytes(), otherwise);
  }
  if (value.is_integer()) return Value::integer(value.as_int());
  if (!value.is(Type::kFloat)) return otherwise;
  if (std::isnan(value.as_float())) return otherwise;
  return int_of_real(render, value.as_float());
}
Value to_float(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter float", arguments, {"default"});
  if (value.is(Type::kUndefined)) render.fail(value.why_undefined());
  if (value.is_number()) return Value::real(value.as_float());
  const auto real = value.is(Type::kString) ? parse_float(value.bytes()) : std::nullopt;
  return real ? Value::real(*real) : bound.value(0, Value::real(0.0));
}

Value abs(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter abs", arguments, {});
  if (value.is(Type::kFloat)) return Value::real(std::fabs(value.as_float()));
  if (!value.is_integer()) render.fail("filter abs: want a number, got ", value.type_name());
  return value.as_int() < 0 ? unary(render, "-", value) : Value::integer(value.as_int());
}

Value round(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter round", arguments, {"precision", "method"});
  const int64_t precision = bound.integer(0, 0);
  const std::string method = bound.has(1) ? bound.text(1) : "common";
  if (method != "common" && method != "ceil" && method != "floor")
    render.fail("filter round: method wants common, ceil or floor, got '", method, "'");
  if (!value.is_number()) render.fail("filter round: want a number, got ", value.type_name());
  constexpr int64_t kMostDigits = 17;
  if (precision < 0 || precision > kMostDigits)
    render.fail("filter round: precision ", precision, " is not built");
  if (method == "common") {
    if (value.is_integer()) return Value::integer(value.as_int());
    if (!std::isfinite(value.as_float())) return value;
    char digits[400];
    std::snprintf(digits, sizeof digits, "%.*f", static_cast<int>(precision), value.as_float());
    return Value::real(std::strtod(digits, nullptr));
  }
  if (!std::isfinite(value.as_float())) render.fail("filter round: ", value.as_float());
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = value.as_float() * scale;
  const double whole = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
  return Value::real((whole == 0 ? 0.0 : whole) / scale);  // an integer in Python: no -0.0
}

Value sum(Render& render, const Value& value, const Arguments& arguments) {
  const Bound bound(render, "filter sum", arguments, {"attribute", "start"});
  const bool by_attribute = bound.has_value(0);
  Value total = bound.value(1, Value::integer(0));
  if (total.is(Type::kString)) render.fail("filter sum: texts are joined, not summed");
  const auto next = iterate(render, value);
  for (Value item; next(item);)
    total =
        binary(render, "+", total, by_attribute ? by_path(render, item, bound[0], nullptr) : item);
  return total;
}

namespace {
Value extreme(Render& render, const Value& value, const Arguments& arguments, const char* function,
              const char* better) {
  const Bound bound(render, function, arguments, {"case_sensitive", "attribute"});
  const bool case_sensitive = bound.truth(0, false);
  const Value path = bound.value(1, Value::none());
  const auto next = iterate(render, value);
  Value best;
  if (!next(best)) return Value::undefined("the smallest or largest of nothing");
  Value best_key = sort_key(render, best, path, case_sensitive);
  for (Value item; next(item);) {
    Value key = sort_key(render, item, path, case_sensitive);
    if (!ordered(render, better, key, best_key)) continue;
    best = item;
    best_key = std::move(key);
  }
  return best;
}
}  // namespace

Value min(Render& render, const Value& value, const Arguments& arguments) {
  return extreme(render, value, arguments, "filter min", "<");
}
Value max(Render& render, const Value& value, const Arguments& arguments) {
  return extreme(render, value, arguments, "filter max", ">");
}

}  // namespace orthant::jinja::filters
