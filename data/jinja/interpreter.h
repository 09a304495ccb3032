// SPDX-License-Identifier: Apache-2.0
// Walks a parsed template and writes its text.
//
// Scopes: a for block (once an iteration), its else block, macros, call, filter, generation, with
// and set blocks have variables of their own; `if` has none.  A macro sees the variables of the
// place where it was defined, as they are when it is called.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/jinja/render.h"
#include "data/jinja/scope.h"
#include "data/jinja/syntax.h"

namespace orthant::jinja {

class Interpreter {
 public:
  // `variables` is what the caller gives; the template's own stand in a scope inside.
  Interpreter(Render& render, std::shared_ptr<Scope> variables);
  std::string run(const Template& tree);

 private:
  enum class Flow { kNormal, kBreak, kContinue };

  // statements (interpreter.cpp)
  Flow execute(const Block& block);
  Flow execute(const Statement& statement);
  Flow execute_if(const Statement& statement);
  Flow execute_for(const Statement& statement);
  Flow capture_filtered(const Statement& statement, Value& value);
  Flow execute_set_block(const Statement& statement);
  Flow execute_filter_block(const Statement& statement);
  Flow execute_with(const Statement& statement);
  void define_macro(const Statement& statement);
  void execute_call_block(const Statement& statement);
  std::function<bool(Value&)> filtered(const Statement& loop, std::function<bool(Value&)> next);
  void assign(const Expression& target, const Value& value);
  void assign_attribute(const Expression& target, const Value& value);
  void emit(std::string_view text);
  // The text of the block.
  Flow capture(const Block& block, std::string& text);
  Value macro_value(const Statement& definition);

  // expressions (evaluation.cpp)
  Value evaluate(const Expression& expression);
  Value evaluate_name(const Expression& expression);
  Value evaluate_items(const Expression& expression);
  Value evaluate_dict(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_call(const Expression& expression, const Value* caller);
  Value evaluate_filter(const Expression& expression, const Value* input);
  Value evaluate_test(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  Value evaluate_concat(const Expression& expression);
  Value evaluate_choice(const Expression& expression);
  Arguments arguments_of(const Expression& call);
  Value call(const Value& callee, Arguments arguments);
  Value call_macro(const Macro& macro, Arguments arguments);
  void bind_parameters(const Statement& definition, Arguments arguments);
  bool compare(const std::string& op, const Value& a, const Value& b);

  // Goes into a new scope, where `hidden` are undefined, and back at the end of the block.
  class Inner {
   public:
    Inner(Interpreter& interpreter, std::shared_ptr<Scope> outer,
          const std::vector<std::string>& hidden);
    ~Inner() { interpreter_.scope_ = std::move(before_); }

   private:
    Interpreter& interpreter_;
    std::shared_ptr<Scope> before_;
  };

  void hide(const std::vector<std::string>& names);

  Render& render_;
  std::shared_ptr<Scope> scope_;
  std::string* out_ = nullptr;
};

}  // namespace orthant::jinja
