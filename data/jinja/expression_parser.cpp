// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "base/text.h"
#include "data/jinja/limits.h"
#include "data/jinja/parser.h"

namespace orthant::jinja {

Parser::Node Parser::node(ExpressionKind kind, Place place) const {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->place = place;
  return made;
}
void Parser::add_part(Expression& parent, Node part) const {
  if (part) {
    parent.depth = std::max(parent.depth, part->depth + 1);
    if (parent.depth > kMaxSyntaxDepth)
      fail(parent.place, concat("nested deeper than ", kMaxSyntaxDepth, " levels"));
  }
  parent.parts.push_back(std::move(part));
}

Parser::Node Parser::parse_tuple(TupleOptions options) {
  const Deeper deeper(*this);
  const Place place = now().place;
  const auto is_end = [&] {
    return now().kind == TokenKind::kPrintEnd || now().kind == TokenKind::kBlockEnd || sees(")") ||
           (options.end_word && sees_word(options.end_word));
  };
  const auto part = [&] { return options.with_condition ? parse_expression() : parse_or(); };
  Node tuple = node(ExpressionKind::kTuple, place);
  if (is_end()) {
    if (!options.is_parenthesised) fail_here("an expression");
    return tuple;
  }
  Node first = part();
  if (!sees(",")) return first;
  add_part(*tuple, std::move(first));
  while (skip(",") && !is_end()) add_part(*tuple, part());
  return tuple;
}

Parser::Node Parser::parse_condition() {
  const Deeper deeper(*this);
  Node value = parse_or();
  while (sees_word("if")) {
    Node condition = node(ExpressionKind::kCondition, take().place);
    add_part(*condition, parse_or());
    add_part(*condition, std::move(value));
    add_part(*condition, skip_word("else") ? parse_condition() : nullptr);
    value = std::move(condition);
  }
  return value;
}

Parser::Node Parser::parse_or() {
  Node left = parse_and();
  while (sees_word("or")) {
    Node either = node(ExpressionKind::kOr, take().place);
    add_part(*either, std::move(left));
    add_part(*either, parse_and());
    left = std::move(either);
  }
  return left;
}
Parser::Node Parser::parse_and() {
  Node left = parse_not();
  while (sees_word("and")) {
    Node both = node(ExpressionKind::kAnd, take().place);
    add_part(*both, std::move(left));
    add_part(*both, parse_not());
    left = std::move(both);
  }
  return left;
}
Parser::Node Parser::parse_not() {
  if (!sees_word("not")) return parse_compare();
  const Deeper deeper(*this);
  Node negated = node(ExpressionKind::kNot, take().place);
  add_part(*negated, parse_not());
  return negated;
}

Parser::Node Parser::parse_compare() {
  static constexpr std::array<std::string_view, 6> kOperators = {"==", "!=", "<", "<=", ">", ">="};
  const Place place = now().place;
  Node left = parse_sum();
  Node compare;
  while (true) {
    std::string op;
    if (now().kind == TokenKind::kOperator &&
        std::find(kOperators.begin(), kOperators.end(), now().text) != kOperators.end()) {
      op = take().text;
    } else if (skip_word("in")) {
      op = "in";
    } else if (sees_word("not") && ahead().kind == TokenKind::kName && ahead().text == "in") {
      take(), take();
      op = "not in";
    } else {
      return compare ? std::move(compare) : std::move(left);
    }
    if (!compare) {
      compare = node(ExpressionKind::kCompare, place);
      add_part(*compare, std::move(left));
    }
    compare->operators.push_back(op);
    add_part(*compare, parse_sum());
  }
}

Parser::Node Parser::parse_sum() {
  Node left = parse_concat();
  while (sees("+") || sees("-")) {
    Node sum = node(ExpressionKind::kBinary, now().place);
    sum->name = take().text;
    add_part(*sum, std::move(left));
    add_part(*sum, parse_concat());
    left = std::move(sum);
  }
  return left;
}
Parser::Node Parser::parse_concat() {
  Node first = parse_product();
  if (!sees("~")) return first;
  Node joined = node(ExpressionKind::kConcat, now().place);
  add_part(*joined, std::move(first));
  while (skip("~")) add_part(*joined, parse_product());
  return joined;
}
Parser::Node Parser::parse_product() {
  Node left = parse_power();
  while (sees("*") || sees("/") || sees("//") || sees("%")) {
    Node product = node(ExpressionKind::kBinary, now().place);
    product->name = take().text;
    if (product->name == "%" && left->kind == ExpressionKind::kConstant &&
        left->constant.is(Type::kString))
      fail(product->place, "formatting a string with '%' is not built");
    add_part(*product, std::move(left));
    add_part(*product, parse_power());
    left = std::move(product);
  }
  return left;
}
Parser::Node Parser::parse_power() {
  Node left = parse_unary(true);
  while (sees("**")) {
    Node power = node(ExpressionKind::kBinary, now().place);
    power->name = take().text;
    add_part(*power, std::move(left));
    add_part(*power, parse_unary(true));
    left = std::move(power);
  }
  return left;
}
Parser::Node Parser::parse_unary(bool with_filter) {
  const Deeper deeper(*this);
  Node value;
  if (sees("-") || sees("+")) {
    value = node(ExpressionKind::kUnary, now().place);
    value->name = take().text;
    add_part(*value, parse_unary(false));
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filter ? parse_filters_and_tests(std::move(value)) : std::move(value);
}

Parser::Node Parser::parse_primary() {
  const Place place = now().place;
  if (now().kind == TokenKind::kName) return parse_name();
  Node constant = node(ExpressionKind::kConstant, place);
  if (now().kind == TokenKind::kString) {
    std::string text;
    while (now().kind == TokenKind::kString) text += take().text;
    constant->constant = Value::text(std::move(text));
    return constant;
  }
  if (now().kind == TokenKind::kInteger) {
    constant->constant = Value::integer(take().integer);
    return constant;
  }
  if (now().kind == TokenKind::kFloat) {
    constant->constant = Value::real(take().real);
    return constant;
  }
  if (sees("[")) return parse_list();
  if (sees("{")) return parse_dict();
  if (!skip("(")) fail_here("an expression");
  Node inside = parse_tuple({.is_parenthesised = true});
  want(")");
  return inside;
}
Parser::Node Parser::parse_name() {
  const Token& token = take();
  Node made = node(ExpressionKind::kConstant, token.place);
  const std::string& name = token.text;
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    made->constant = Value::boolean(name == "true" || name == "True");
  } else if (name == "none" || name == "None") {
    made->constant = Value::none();
  } else {
    made->kind = ExpressionKind::kName;
    made->name = name;
    if (name == "self" || name == "super")
      fail(token.place, concat("'", name, "' of template inheritance is not built"));
    if (!functions_.empty()) {
      const auto& own = functions_.back()->parameters;
      const bool is_own =
          std::any_of(own.begin(), own.end(), [&](const Parameter& p) { return p.name == name; });
      if (!is_own && (name == "varargs" || name == "kwargs"))
        fail(token.place, concat("'", name, "' of macros is not built"));
      if (name == "caller")
        for (Statement* function : functions_) function->uses_caller = true;
    }
  }
  return made;
}

Parser::Node Parser::parse_list() {
  Node list = node(ExpressionKind::kList, take().place);
  while (!sees("]")) {
    if (!list->parts.empty()) {
      want(",");
      if (sees("]")) break;
    }
    add_part(*list, parse_expression());
  }
  take();
  return list;
}
Parser::Node Parser::parse_dict() {
  Node dict = node(ExpressionKind::kDict, take().place);
  while (!sees("}")) {
    if (!dict->parts.empty()) {
      want(",");
      if (sees("}")) break;
    }
    add_part(*dict, parse_expression());
    want(":");
    add_part(*dict, parse_expression());
  }
  take();
  return dict;
}

}  // namespace orthant::jinja
