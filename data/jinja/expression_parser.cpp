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

Parser::Node Parser::parse_postfix(Node value) {
  while (true) {
    if (sees(".") || sees("[")) {
      value = parse_subscript(std::move(value));
    } else if (sees("(")) {
      value = parse_call(std::move(value));
    } else {
      return value;
    }
  }
}
Parser::Node Parser::parse_filters_and_tests(Node value) {
  while (true) {
    if (skip("|")) {
      value = parse_filter(std::move(value));
    } else if (sees_word("is")) {
      value = parse_test(std::move(value));
    } else if (sees("(")) {
      value = parse_call(std::move(value));
    } else {
      return value;
    }
  }
}

Parser::Node Parser::parse_subscript(Node object) {
  const Token& token = take();
  if (token.text == "[") return parse_bracket(std::move(object), token.place);
  if (now().kind == TokenKind::kInteger) {
    Node item = node(ExpressionKind::kItem, token.place);
    add_part(*item, std::move(object));
    add_part(*item, parse_primary());
    return item;
  }
  Node attribute = node(ExpressionKind::kAttribute, token.place);
  attribute->name = want_name("the name of an attribute");
  add_part(*attribute, std::move(object));
  return attribute;
}

// Behind "[": an item or a slice.
Parser::Node Parser::parse_bracket(Node object, Place place) {
  const auto is_end = [&] { return sees("]") || sees(",") || sees(":"); };
  Node item = node(ExpressionKind::kItem, place);
  add_part(*item, std::move(object));
  add_part(*item, is_end() ? nullptr : parse_expression());
  if (skip(":")) {
    item->kind = ExpressionKind::kSlice;
    add_part(*item, is_end() ? nullptr : parse_expression());
    add_part(*item, skip(":") && !is_end() ? parse_expression() : nullptr);
  } else if (!item->parts.back()) {
    fail_here("an expression");
  }
  if (sees(",")) fail(now().place, "several items in one pair of brackets are not built");
  want("]");
  return item;
}

Parser::Node Parser::parse_call(Node callee) {
  Node call = node(ExpressionKind::kCall, now().place);
  if (callee->kind == ExpressionKind::kAttribute && is_unbuilt_method(callee->name))
    fail(callee->place, concat("method '.", callee->name, "()' is not built"));
  if (callee->kind == ExpressionKind::kName && is_unbuilt_global(callee->name))
    fail(callee->place, concat("function '", callee->name, "' is not built"));
  add_part(*call, std::move(callee));
  parse_arguments(*call);
  return call;
}

void Parser::parse_arguments(Expression& call) {
  want("(");
  bool is_first = true;
  while (!sees(")")) {
    if (!std::exchange(is_first, false)) {
      want(",");
      if (sees(")")) break;
    }
    if (sees("*") || sees("**")) fail(now().place, "arguments from '*' and '**' are not built");
    if (now().kind == TokenKind::kName && ahead().kind == TokenKind::kOperator &&
        ahead().text == "=") {
      const Place place = now().place;
      std::string name = take().text;
      take();
      for (const auto& [other, value] : call.named)
        if (other == name) fail(place, concat("argument '", name, "' is there twice"));
      Node value = parse_expression();
      call.depth = std::max(call.depth, value->depth + 1);
      call.named.emplace_back(std::move(name), std::move(value));
    } else if (!call.named.empty()) {
      fail(now().place, "an argument without a name stands behind one with a name");
    } else {
      add_part(call, parse_expression());
    }
  }
  take();
  if (call.depth > kMaxSyntaxDepth)
    fail(call.place, concat("nested deeper than ", kMaxSyntaxDepth, " levels"));
}

namespace {
std::string dotted(std::string name, const std::string& more) { return name + "." + more; }
}  // namespace

// Behind "|" or "filter"; `value` may be null.
Parser::Node Parser::parse_filter(Node value) {
  const Place place = now().place;
  std::string name = want_name("the name of a filter");
  while (skip(".")) name = dotted(name, want_name("the name of a filter"));
  Node filter = node(ExpressionKind::kFilter, place);
  filter->filter = find_filter(name);
  if (!filter->filter)
    fail(place, concat(is_unbuilt_filter(name) ? "filter '" : "unknown filter '", name,
                       is_unbuilt_filter(name) ? "' is not built" : "'"));
  filter->name = std::move(name);
  add_part(*filter, std::move(value));
  if (sees("(")) parse_arguments(*filter);
  check_named_function(*filter);
  return filter;
}

// map('upper'), select('defined'), selectattr('role', '==', 'user'): a name in a string.
void Parser::check_named_function(const Expression& filter) const {
  const bool is_attr = filter.name == "selectattr" || filter.name == "rejectattr";
  const bool is_test = is_attr || filter.name == "select" || filter.name == "reject";
  const size_t at = is_attr ? 2 : 1;
  if ((!is_test && filter.name != "map") || filter.parts.size() <= at) return;
  const Expression& part = *filter.parts[at];
  if (part.kind != ExpressionKind::kConstant || !part.constant.is(Type::kString)) return;
  const std::string& name = part.constant.bytes();
  if (is_test ? find_test(name) != nullptr : find_filter(name) != nullptr) return;
  const bool is_unbuilt = is_test ? is_unbuilt_test(name) : is_unbuilt_filter(name);
  fail(part.place, concat(is_unbuilt ? "" : "unknown ", is_test ? "test '" : "filter '", name,
                          is_unbuilt ? "' is not built" : "'"));
}

Parser::Node Parser::parse_test(Node value) {
  const Place place = take().place;
  const bool is_negated = skip_word("not");
  Node test = node(ExpressionKind::kTest, place);
  const Place name_place = now().place;
  std::string name = want_name("the name of a test");
  while (skip(".")) name = dotted(name, want_name("the name of a test"));
  test->test = find_test(name);
  if (!test->test)
    fail(name_place, concat(is_unbuilt_test(name) ? "test '" : "unknown test '", name,
                            is_unbuilt_test(name) ? "' is not built" : "'"));
  test->name = std::move(name);
  add_part(*test, std::move(value));
  parse_test_argument(*test);
  if (!is_negated) return test;
  Node negated = node(ExpressionKind::kNot, place);
  add_part(*negated, std::move(test));
  return negated;
}
// `is divisibleby(3)` and `is divisibleby 3`.
void Parser::parse_test_argument(Expression& test) {
  if (sees("(")) return parse_arguments(test);
  const TokenKind kind = now().kind;
  const bool is_value = kind == TokenKind::kName || kind == TokenKind::kString ||
                        kind == TokenKind::kInteger || kind == TokenKind::kFloat || sees("[") ||
                        sees("{");
  if (!is_value || sees_word("else") || sees_word("or") || sees_word("and")) return;
  if (sees_word("is")) fail(now().place, "tests with 'is' cannot be chained");
  add_part(test, parse_postfix(parse_primary()));
}

}  // namespace orthant::jinja
