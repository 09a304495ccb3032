// SPDX-License-Identifier: Apache-2.0
// A parsed template: a tree of statements and expressions that never changes.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/jinja/functions.h"
#include "data/jinja/source.h"
#include "data/jinja/value.h"

namespace orthant::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

enum class ExpressionKind {
  kConstant,
  kName,
  kList,
  kTuple,
  kDict,       // parts: key, value, key, value, ...
  kAttribute,  // parts: object; name
  kItem,       // parts: object, key
  kSlice,      // parts: object, start, stop, step; what was left out is null
  kCall,       // parts: callee, arguments...; named
  kFilter,     // parts: value, arguments...; named; without a value in `{% filter %}`
  kTest,       // parts: value, arguments...; named
  kUnary,      // name: "+" or "-"
  kBinary,     // name: the operator
  kCompare,    // parts: one more than operators
  kConcat,     // ~
  kAnd,
  kOr,
  kNot,
  kCondition,  // parts: condition, value if so, value if not (null: undefined)
};

struct Expression {
  ExpressionKind kind = ExpressionKind::kConstant;
  Place place;
  std::string name;
  Value constant;
  std::vector<ExpressionPtr> parts;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  std::vector<std::string> operators;
  FilterFunction filter = nullptr;
  TestFunction test = nullptr;
  int depth = 1;
};

struct Statement;
using Block = std::vector<std::unique_ptr<Statement>>;

enum class StatementKind {
  kData,
  kPrint,
  kIf,
  kFor,
  kSet,
  kSetBlock,  // {% set x %}...{% endset %}, perhaps through filters
  kWith,
  kMacro,
  kCallBlock,    // value: the call; parameters and body: its caller()
  kFilterBlock,  // value: the filters
  kGeneration,
  kBreak,
  kContinue,
};

struct Parameter {
  std::string name;
  ExpressionPtr otherwise;  // null: undefined
};
struct Branch {
  ExpressionPtr condition;
  Block body;
};

struct Statement {
  StatementKind kind = StatementKind::kData;
  Place place;
  std::string text;  // of data; a macro's name
  ExpressionPtr target, value, condition;
  std::vector<Branch> branches;  // of if
  std::vector<Parameter> parameters;
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> bindings;  // of with
  Block body, otherwise;
  bool uses_caller = false;                           // of macros: caller() is named in the body
  std::vector<std::string> hidden, hidden_otherwise;  // of the bodies' scopes (masking.h)
};

struct Template {
  Block block;
  std::vector<std::string> hidden;
};

// Error(kData) with file, line and column on what is malformed or not built.
Template parse(const Source& source);

}  // namespace orthant::jinja
