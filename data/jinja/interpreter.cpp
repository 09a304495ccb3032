// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/interpreter.h"

#include "data/jinja/operators.h"
#include "data/jinja/printing.h"

namespace orthant::jinja {

Interpreter::Interpreter(Render& render, std::shared_ptr<Scope> variables) : render_(render) {
  scope_ = std::make_shared<Scope>();
  scope_->outer = std::move(variables);
}
std::string Interpreter::run(const Template& tree) {
  std::string text;
  out_ = &text;
  hide(tree.hidden);
  execute(tree.block);
  return text;
}

Interpreter::Inner::Inner(Interpreter& interpreter, std::shared_ptr<Scope> outer,
                          const std::vector<std::string>& hidden)
    : interpreter_(interpreter), before_(interpreter.scope_) {
  interpreter_.scope_ = std::make_shared<Scope>();
  interpreter_.scope_->outer = std::move(outer);
  interpreter_.hide(hidden);
}
void Interpreter::hide(const std::vector<std::string>& names) {
  for (const std::string& name : names)
    scope_->set(name, Value::undefined(concat("'", name, "' is undefined")));
}

void Interpreter::emit(std::string_view text) {
  render_.charge(text.size());
  if (text.size() > kMaxOutputBytes - out_->size())
    render_.fail("the template writes more than ",
                 human_bytes(static_cast<double>(kMaxOutputBytes)));
  out_->append(text);
}
Interpreter::Flow Interpreter::capture(const Block& block, std::string& text) {
  std::string* const before = std::exchange(out_, &text);
  const Flow flow = execute(block);
  out_ = before;
  return flow;
}

Interpreter::Flow Interpreter::execute(const Block& block) {
  for (const auto& statement : block)
    if (const Flow flow = execute(*statement); flow != Flow::kNormal) return flow;
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const Statement& statement) {
  const Render::Deeper deeper(render_);
  render_.here = statement.place;
  switch (statement.kind) {
    case StatementKind::kData:
      emit(statement.text);
      break;
    case StatementKind::kPrint:
      emit(str(render_, evaluate(*statement.value)));
      break;
    case StatementKind::kIf:
      return execute_if(statement);
    case StatementKind::kFor:
      return execute_for(statement);
    case StatementKind::kSet:
      assign(*statement.target, evaluate(*statement.value));
      break;
    case StatementKind::kSetBlock:
      return execute_set_block(statement);
    case StatementKind::kWith:
      return execute_with(statement);
    case StatementKind::kMacro:
      define_macro(statement);
      break;
    case StatementKind::kCallBlock:
      execute_call_block(statement);
      break;
    case StatementKind::kFilterBlock:
      return execute_filter_block(statement);
    case StatementKind::kGeneration: {
      const Inner inner(*this, scope_, statement.hidden);
      return execute(statement.body);
    }
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute_if(const Statement& statement) {
  for (const Branch& branch : statement.branches)
    if (truth(render_, evaluate(*branch.condition))) return execute(branch.body);
  return execute(statement.otherwise);
}

// Items that pass the loop's condition, which sees the target and not `loop`.
std::function<bool(Value&)> Interpreter::filtered(const Statement& loop,
                                                  std::function<bool(Value&)> next) {
  if (!loop.condition) return next;
  return [this, &loop, next = std::move(next), outer = scope_](Value& item) {
    while (next(item)) {
      const Inner inner(*this, outer, {});
      assign(*loop.target, item);
      if (truth(render_, evaluate(*loop.condition))) return true;
    }
    return false;
  };
}

Interpreter::Flow Interpreter::execute_for(const Statement& statement) {
  const Value items = evaluate(*statement.value);
  const auto loop = std::make_shared<Loop>();
  loop->next_item = filtered(statement, iterate(render_, items));
  if (!statement.condition) loop->length = length(render_, items);
  const std::unique_ptr<Loop, void (*)(Loop*)> at_end(loop.get(),
                                                      [](Loop* ended) { ended->forget(); });
  bool was_whole = false;  // some iteration reached its end: without break and continue
  for (Value item; loop->next(item);) {
    const Inner inner(*this, scope_, statement.hidden);
    scope_->set("loop", Value::loop(loop));
    assign(*statement.target, item);
    const Flow flow = execute(statement.body);
    if (flow == Flow::kBreak) break;
    if (flow == Flow::kNormal) was_whole = true;
  }
  if (was_whole || statement.otherwise.empty()) return Flow::kNormal;
  const Inner inner(*this, scope_, statement.hidden_otherwise);
  return execute(statement.otherwise);
}

// The text of a block through filters, which see the block's variables.
Interpreter::Flow Interpreter::capture_filtered(const Statement& statement, Value& value) {
  const Inner inner(*this, scope_, statement.hidden);
  std::string text;
  const Flow flow = capture(statement.body, text);
  if (flow != Flow::kNormal) return flow;
  value = render_.text(std::move(text));
  if (statement.value) value = evaluate_filter(*statement.value, &value);
  return flow;
}
Interpreter::Flow Interpreter::execute_set_block(const Statement& statement) {
  Value value;
  const Flow flow = capture_filtered(statement, value);
  if (flow == Flow::kNormal) assign(*statement.target, value);
  return flow;
}
Interpreter::Flow Interpreter::execute_filter_block(const Statement& statement) {
  Value value;
  const Flow flow = capture_filtered(statement, value);
  if (flow == Flow::kNormal) emit(str(render_, value));
  return flow;
}
Interpreter::Flow Interpreter::execute_with(const Statement& statement) {
  std::vector<Value> values;
  for (const auto& [target, value] : statement.bindings) values.push_back(evaluate(*value));
  const Inner inner(*this, scope_, statement.hidden);
  for (size_t i = 0; i < values.size(); ++i) assign(*statement.bindings[i].first, values[i]);
  return execute(statement.body);
}

Value Interpreter::macro_value(const Statement& definition) {
  auto macro = std::make_shared<Macro>();
  macro->definition = &definition;
  macro->scope = scope_;
  render_.keep(scope_);
  return Value::macro(std::move(macro));
}
void Interpreter::define_macro(const Statement& statement) {
  scope_->set(statement.text, macro_value(statement));
}
void Interpreter::execute_call_block(const Statement& statement) {
  const Value caller = macro_value(statement);
  emit(str(render_, evaluate_call(*statement.value, &caller)));
}

void Interpreter::assign(const Expression& target, const Value& value) {
  if (target.kind == ExpressionKind::kName) return scope_->set(target.name, value);
  if (target.kind == ExpressionKind::kAttribute) return assign_attribute(target, value);
  render_.here = target.place;
  if (!is_iterable(value))
    render_.fail("want ", target.parts.size(), " values to unpack, got ", value.type_name());
  const std::vector<Value> items = all_items(render_, value);
  if (items.size() != target.parts.size())
    render_.fail("want ", target.parts.size(), " values to unpack, got ", items.size());
  for (size_t i = 0; i < items.size(); ++i) assign(*target.parts[i], items[i]);
}
void Interpreter::assign_attribute(const Expression& target, const Value& value) {
  render_.here = target.place;
  const std::string& owner = target.parts[0]->name;
  const Value* space = scope_->find(owner);
  if (!space || !space->is(Type::kNamespace))
    render_.fail("cannot set '", owner, ".", target.name, "': '", owner, "' is no namespace");
  if (target.name.starts_with('_'))
    render_.fail("cannot set '", owner, ".", target.name, "': it begins with an underscore");
  for (auto& [name, old] : space->as_namespace().attributes)
    if (name == target.name) {
      old = value;
      return;
    }
  space->as_namespace().attributes.emplace_back(target.name, value);
}

}  // namespace orthant::jinja
