// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/parser.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "data/jinja/limits.h"
#include "data/jinja/masking.h"

namespace orthant::jinja {

bool Parser::sees(std::string_view op) const {
  return now().kind == TokenKind::kOperator && now().text == op;
}
bool Parser::sees_word(std::string_view word) const {
  return now().kind == TokenKind::kName && now().text == word;
}
bool Parser::skip(std::string_view op) { return sees(op) && (take(), true); }
bool Parser::skip_word(std::string_view word) { return sees_word(word) && (take(), true); }
void Parser::want(std::string_view op) {
  if (!skip(op)) fail_here(concat("'", op, "'"));
}
std::string Parser::want_name(const char* what) {
  if (now().kind != TokenKind::kName) fail_here(what);
  return take().text;
}
void Parser::fail(Place place, const std::string& message) const { source_.fail(place, message); }
void Parser::fail_here(const std::string& wanted) const {
  const Token& token = now();
  const char* kind = token.kind == TokenKind::kEnd        ? "the end of the template"
                     : token.kind == TokenKind::kBlockEnd ? "the end of the tag"
                     : token.kind == TokenKind::kPrintEnd ? "the end of the expression"
                     : token.kind == TokenKind::kString   ? "a string"
                                                          : nullptr;
  fail(token.place, concat("want ", wanted, ", got ", kind ? kind : "'" + token.text + "'"));
}

Parser::Deeper::Deeper(Parser& parser) : parser_(parser) {
  if (++parser_.depth_ > kMaxSyntaxDepth)
    parser_.fail(parser_.now().place, concat("nested deeper than ", kMaxSyntaxDepth, " levels"));
}

Block Parser::run() {
  Block block = parse_block({});
  if (now().kind != TokenKind::kEnd) fail_here("the end of the template");
  return block;
}

// Statements up to a tag that begins with one of `ends`, whose word is the next token.
Block Parser::parse_block(std::initializer_list<std::string_view> ends) {
  Block block;
  while (now().kind != TokenKind::kEnd) {
    const Place place = now().place;
    auto statement = std::make_unique<Statement>();
    statement->place = place;
    if (now().kind == TokenKind::kData) {
      statement->text = take().text;
    } else if (now().kind == TokenKind::kPrintBegin) {
      take();
      statement->kind = StatementKind::kPrint;
      statement->value = parse_tuple({});
      if (now().kind != TokenKind::kPrintEnd) fail_here("'}}'");
      take();
    } else {
      take();
      if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return sees_word(end); }))
        return block;
      statement = parse_statement();
      if (now().kind != TokenKind::kBlockEnd) fail_here("'%}'");
      take();
    }
    block.push_back(std::move(statement));
  }
  if (ends.size() > 0) fail_here(concat("'{% ", *(ends.end() - 1), " %}'"));
  return block;
}
// The same behind a tag's head.
Block Parser::parse_body(std::initializer_list<std::string_view> ends) {
  skip(":");
  if (now().kind != TokenKind::kBlockEnd) fail_here("'%}'");
  take();
  return parse_block(ends);
}

Parser::StatementNode Parser::parse_statement() {
  const Deeper deeper(*this);
  if (now().kind != TokenKind::kName) fail_here("the name of a tag");
  const Token& tag = take();
  if (tag.text == "if") return parse_if(tag.place);
  if (tag.text == "for") return parse_for(tag.place);
  if (tag.text == "set") return parse_set(tag.place);
  if (tag.text == "with") return parse_with(tag.place);
  if (tag.text == "macro") return parse_macro(tag.place);
  if (tag.text == "call") return parse_call_block(tag.place);
  if (tag.text == "filter") return parse_filter_block(tag.place);
  if (tag.text == "generation") return parse_generation(tag.place);
  if (tag.text == "break") return parse_jump(tag.place, StatementKind::kBreak);
  if (tag.text == "continue") return parse_jump(tag.place, StatementKind::kContinue);
  refuse_tag(tag);
}

void Parser::refuse_tag(const Token& tag) const {
  static constexpr std::array<std::string_view, 8> kUnbuilt = {
      "autoescape", "block", "extends", "from", "import", "include", "print", "do"};
  if (std::find(kUnbuilt.begin(), kUnbuilt.end(), tag.text) != kUnbuilt.end())
    fail(tag.place, concat("tag '", tag.text, "' is not built"));
  fail(tag.place, concat("unknown tag '", tag.text, "'"));
}

namespace {
std::unique_ptr<Statement> make_statement(StatementKind kind, Place place) {
  auto statement = std::make_unique<Statement>();
  statement->kind = kind;
  statement->place = place;
  return statement;
}
}  // namespace

Parser::StatementNode Parser::parse_if(Place place) {
  auto statement = make_statement(StatementKind::kIf, place);
  while (true) {
    Branch branch;
    branch.condition = parse_tuple({.with_condition = false});
    branch.body = parse_body({"elif", "else", "endif"});
    statement->branches.push_back(std::move(branch));
    if (skip_word("elif")) continue;
    if (skip_word("else")) statement->otherwise = parse_body({"endif"});
    skip_word("endif");
    return statement;
  }
}

Parser::StatementNode Parser::parse_for(Place place) {
  auto statement = make_statement(StatementKind::kFor, place);
  ++loops_;  // a target named "loop" is refused
  statement->target = parse_target("in", false);
  --loops_;
  if (!skip_word("in")) fail_here("'in'");
  statement->value = parse_tuple({.with_condition = false, .end_word = "recursive"});
  if (skip_word("if")) statement->condition = parse_expression();
  if (sees_word("recursive")) fail(now().place, "recursive loops are not built");
  ++loops_;
  statement->body = parse_body({"else", "endfor"});
  --loops_;
  if (skip_word("else")) statement->otherwise = parse_body({"endfor"});
  skip_word("endfor");
  return statement;
}

Parser::StatementNode Parser::parse_set(Place place) {
  auto statement = make_statement(StatementKind::kSet, place);
  statement->target = parse_target(nullptr, true);
  if (skip("=")) {
    statement->value = parse_tuple({});
    return statement;
  }
  statement->kind = StatementKind::kSetBlock;
  Node filters;
  while (skip("|")) filters = parse_filter(std::move(filters));
  statement->value = std::move(filters);
  statement->body = parse_body({"endset"});
  take();
  return statement;
}

Parser::StatementNode Parser::parse_with(Place place) {
  auto statement = make_statement(StatementKind::kWith, place);
  while (now().kind != TokenKind::kBlockEnd) {
    if (!statement->bindings.empty()) want(",");
    ExpressionPtr target = parse_target(nullptr, false);
    want("=");
    statement->bindings.emplace_back(std::move(target), parse_expression());
  }
  statement->body = parse_body({"endwith"});
  take();
  return statement;
}

void Parser::parse_parameters(Statement& macro) {
  want("(");
  while (!sees(")")) {
    if (!macro.parameters.empty()) want(",");
    const Place place = now().place;
    Parameter parameter;
    parameter.name = want_name("the name of a parameter");
    for (const Parameter& other : macro.parameters)
      if (other.name == parameter.name)
        fail(place, concat("parameter '", parameter.name, "' is there twice"));
    if (parameter.name == "caller") fail(place, "a parameter named 'caller' is not built");
    if (skip("=")) {
      parameter.otherwise = parse_expression();
    } else if (!macro.parameters.empty() && macro.parameters.back().otherwise) {
      fail(place, concat("parameter '", parameter.name, "' wants a default like those before it"));
    }
    macro.parameters.push_back(std::move(parameter));
  }
  take();
}
// The body of what is called: no break leaves it.
Block Parser::parse_function_body(Statement& macro, std::string_view end) {
  const int loops = std::exchange(loops_, 0);
  functions_.push_back(&macro);
  Block body = parse_body({end});
  functions_.pop_back();
  loops_ = loops;
  take();
  return body;
}
Parser::StatementNode Parser::parse_macro(Place place) {
  auto statement = make_statement(StatementKind::kMacro, place);
  statement->text = want_name("the name of the macro");
  parse_parameters(*statement);
  statement->body = parse_function_body(*statement, "endmacro");
  return statement;
}
Parser::StatementNode Parser::parse_call_block(Place place) {
  auto statement = make_statement(StatementKind::kCallBlock, place);
  statement->text = "caller";
  if (sees("(")) parse_parameters(*statement);
  const Place call = now().place;
  Node value = parse_expression();
  if (value->kind != ExpressionKind::kCall) fail(call, "want a call");
  statement->value = std::move(value);
  statement->body = parse_function_body(*statement, "endcall");
  return statement;
}

Parser::StatementNode Parser::parse_filter_block(Place place) {
  auto statement = make_statement(StatementKind::kFilterBlock, place);
  Node filters = parse_filter(nullptr);
  while (skip("|")) filters = parse_filter(std::move(filters));
  statement->value = std::move(filters);
  statement->body = parse_body({"endfilter"});
  take();
  return statement;
}
Parser::StatementNode Parser::parse_generation(Place place) {
  auto statement = make_statement(StatementKind::kGeneration, place);
  const int loops = std::exchange(loops_, 0);
  statement->body = parse_body({"endgeneration"});
  loops_ = loops;
  take();
  return statement;
}
Parser::StatementNode Parser::parse_jump(Place place, StatementKind kind) {
  if (loops_ == 0) fail(place, "break and continue stand inside a loop only");
  return make_statement(kind, place);
}

// Names, names in tuples, and where `with_namespace` attributes of namespaces.
ExpressionPtr Parser::parse_target(const char* end_word, bool with_namespace) {
  const auto primary = [&] {
    Node part = parse_primary();
    if (with_namespace && part->kind == ExpressionKind::kName && sees(".")) {
      const Place place = take().place;
      Node attribute = node(ExpressionKind::kAttribute, place);
      attribute->name = want_name("the name of an attribute");
      add_part(*attribute, std::move(part));
      part = std::move(attribute);
    }
    check_target(*part);
    return part;
  };
  const auto is_end = [&] {
    return now().kind == TokenKind::kBlockEnd || (end_word && sees_word(end_word));
  };
  const Place place = now().place;
  Node target = primary();
  if (!sees(",")) return target;
  Node tuple = node(ExpressionKind::kTuple, place);
  add_part(*tuple, std::move(target));
  while (skip(",") && !is_end()) add_part(*tuple, primary());
  return tuple;
}

void Parser::check_target(const Expression& target) const {
  switch (target.kind) {
    case ExpressionKind::kAttribute:
      return;
    case ExpressionKind::kName:
      if (target.name == "loop" && loops_ > 0)
        fail(target.place, "the variable 'loop' of a loop cannot be set");
      return;
    case ExpressionKind::kTuple:
      for (const ExpressionPtr& part : target.parts) check_target(*part);
      return;
    default:
      fail(target.place, "this cannot be assigned to");
  }
}

Template parse(const Source& source) {
  Template tree{.block = Parser(source).run(), .hidden = {}};
  find_hidden_names(tree);
  return tree;
}

}  // namespace orthant::jinja
