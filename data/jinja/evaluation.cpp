// SPDX-License-Identifier: Apache-2.0
// Expressions.
#include <algorithm>

#include "data/jinja/interpreter.h"
#include "data/jinja/operators.h"
#include "data/jinja/printing.h"

namespace orthant::jinja {

Value Interpreter::evaluate(const Expression& e) {
  const Render::Deeper deeper(render_);
  render_.here = e.place;
  switch (e.kind) {
    case ExpressionKind::kConstant:
      return e.constant;
    case ExpressionKind::kName:
      return evaluate_name(e);
    case ExpressionKind::kList:
    case ExpressionKind::kTuple:
      return evaluate_items(e);
    case ExpressionKind::kDict:
      return evaluate_dict(e);
    case ExpressionKind::kSlice:
      return evaluate_slice(e);
    case ExpressionKind::kCall:
      return evaluate_call(e, nullptr);
    case ExpressionKind::kFilter:
      return evaluate_filter(e, nullptr);
    case ExpressionKind::kTest:
      return evaluate_test(e);
    case ExpressionKind::kCompare:
      return evaluate_compare(e);
    case ExpressionKind::kConcat:
      return evaluate_concat(e);
    default:
      return evaluate_choice(e);
  }
}

// What takes one value or two.
Value Interpreter::evaluate_choice(const Expression& e) {
  const Value first = evaluate(*e.parts[0]);
  render_.here = e.place;
  switch (e.kind) {
    case ExpressionKind::kAttribute:
      return attribute(render_, first, e.name);
    case ExpressionKind::kUnary:
      return unary(render_, e.name, first);
    case ExpressionKind::kNot:
      return Value::boolean(!truth(render_, first));
    case ExpressionKind::kAnd:
      return truth(render_, first) ? evaluate(*e.parts[1]) : first;
    case ExpressionKind::kOr:
      return truth(render_, first) ? first : evaluate(*e.parts[1]);
    case ExpressionKind::kCondition:
      if (truth(render_, first)) return evaluate(*e.parts[1]);
      return e.parts[2] ? evaluate(*e.parts[2])
                        : Value::undefined("an inline if without else was false");
    default:
      break;
  }
  const Value second = evaluate(*e.parts[1]);
  render_.here = e.place;
  return e.kind == ExpressionKind::kItem ? item(render_, first, second)
                                         : binary(render_, e.name, first, second);
}

Value Interpreter::evaluate_name(const Expression& e) {
  if (const Value* value = scope_->find(e.name)) return *value;
  Value function = global_function(e.name);
  if (!function.is(Type::kUndefined)) return function;
  if (is_unbuilt_global(e.name)) render_.fail("function '", e.name, "' is not built");
  return Value::undefined(concat("'", e.name, "' is undefined"));
}

Value Interpreter::evaluate_items(const Expression& e) {
  std::vector<Value> items;
  for (const auto& part : e.parts) items.push_back(evaluate(*part));
  render_.here = e.place;
  return e.kind == ExpressionKind::kList ? render_.list(std::move(items))
                                         : render_.tuple(std::move(items));
}
Value Interpreter::evaluate_dict(const Expression& e) {
  std::vector<std::pair<Value, Value>> items;
  for (size_t i = 0; i + 1 < e.parts.size(); i += 2) {
    Value key = evaluate(*e.parts[i]);
    items.emplace_back(std::move(key), evaluate(*e.parts[i + 1]));
  }
  render_.here = e.place;
  return make_dict(render_, std::move(items));
}
Value Interpreter::evaluate_slice(const Expression& e) {
  const Value object = evaluate(*e.parts[0]);
  const auto part = [&](size_t i) { return e.parts[i] ? evaluate(*e.parts[i]) : Value::none(); };
  const Value start = part(1), stop = part(2), step = part(3);
  render_.here = e.place;
  return slice(render_, object, start, stop, step);
}

Value Interpreter::evaluate_concat(const Expression& e) {
  std::string text;
  for (const auto& part : e.parts) {
    const Value value = evaluate(*part);
    const std::string piece = str(render_, value);
    render_.charge(piece.size());
    text += piece;
  }
  return render_.text(std::move(text));
}

bool Interpreter::compare(const std::string& op, const Value& a, const Value& b) {
  if (op == "==") return equal(render_, a, b);
  if (op == "!=") return !equal(render_, a, b);
  if (op == "in") return contains(render_, b, a);
  if (op == "not in") return !contains(render_, b, a);
  return ordered(render_, op, a, b);
}
Value Interpreter::evaluate_compare(const Expression& e) {
  Value left = evaluate(*e.parts[0]);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    Value right = evaluate(*e.parts[i + 1]);
    render_.here = e.place;
    if (!compare(e.operators[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

// All parts but the first, which is the callee or the value.
Arguments Interpreter::arguments_of(const Expression& call) {
  Arguments arguments;
  for (size_t i = 1; i < call.parts.size(); ++i)
    arguments.positional.push_back(evaluate(*call.parts[i]));
  for (const auto& [name, value] : call.named) arguments.named.emplace_back(name, evaluate(*value));
  render_.here = call.place;
  return arguments;
}

// `input` is a block's text, for the innermost filter of a filter block.
Value Interpreter::evaluate_filter(const Expression& e, const Value* input) {
  const Render::Deeper deeper(render_);
  const Expression* inner = e.parts[0].get();
  const Value value = !inner                                   ? *input
                      : inner->kind == ExpressionKind::kFilter ? evaluate_filter(*inner, input)
                                                               : evaluate(*inner);
  return e.filter(render_, value, arguments_of(e));
}
Value Interpreter::evaluate_test(const Expression& e) {
  const Value value = evaluate(*e.parts[0]);
  return Value::boolean(e.test(render_, value, arguments_of(e)));
}

Value Interpreter::evaluate_call(const Expression& e, const Value* caller) {
  const Value callee = evaluate(*e.parts[0]);
  Arguments arguments = arguments_of(e);
  if (caller) arguments.named.emplace_back("caller", *caller);
  return call(callee, std::move(arguments));
}
Value Interpreter::call(const Value& callee, Arguments arguments) {
  if (callee.is(Type::kMacro)) return call_macro(callee.as_macro(), std::move(arguments));
  if (callee.is(Type::kFunction)) {
    const Function& function = callee.as_function();
    return function.call(render_, function.self, arguments);
  }
  if (callee.is(Type::kUndefined)) render_.fail(callee.why_undefined(), ", so it cannot be called");
  if (callee.is(Type::kLoop)) render_.fail("recursive loops are not built");
  render_.fail("a ", callee.type_name(), " cannot be called");
}

Value Interpreter::call_macro(const Macro& macro, Arguments arguments) {
  const Statement& definition = *macro.definition;
  const Render::Deeper deeper(render_);
  const Inner inner(*this, macro.scope, definition.hidden);
  std::string text;
  std::string* const before = std::exchange(out_, &text);
  bind_parameters(definition, std::move(arguments));
  execute(definition.body);
  out_ = before;
  return render_.text(std::move(text));
}

void Interpreter::bind_parameters(const Statement& definition, Arguments arguments) {
  const auto& parameters = definition.parameters;
  const std::string& macro = definition.text;
  if (arguments.positional.size() > parameters.size())
    render_.fail("macro '", macro, "' wants at most ", parameters.size(), " arguments, got ",
                 arguments.positional.size());
  const auto take = [&](const std::string& name) {
    const auto found = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& argument) { return argument.first == name; });
    if (found == arguments.named.end()) return std::optional<Value>();
    std::optional<Value> value = std::move(found->second);
    arguments.named.erase(found);
    return value;
  };
  std::vector<bool> is_given(parameters.size(), true);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const std::string& name = parameters[i].name;
    std::optional<Value> value;
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
    } else {
      value = take(name);
    }
    is_given[i] = value.has_value();
    scope_->set(name, value ? *value
                            : Value::undefined(concat("parameter '", name, "' of macro '", macro,
                                                      "' was not given")));
  }
  if (definition.uses_caller) {
    const auto caller = take("caller");
    scope_->set("caller", caller ? *caller : Value::undefined("there is no caller"));
  }
  if (!arguments.named.empty())
    render_.fail("macro '", macro, "' has no argument '", arguments.named[0].first, "' left");
  for (size_t i = 0; i < parameters.size(); ++i)
    if (!is_given[i] && parameters[i].otherwise)
      scope_->set(parameters[i].name, evaluate(*parameters[i].otherwise));
}

}  // namespace orthant::jinja
