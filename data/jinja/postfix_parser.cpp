// SPDX-License-Identifier: Apache-2.0
// Behind a value: attributes, items, calls, filters, tests.
#include <algorithm>

#include "base/text.h"
#include "data/jinja/limits.h"
#include "data/jinja/parser.h"

namespace orthant::jinja {

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
