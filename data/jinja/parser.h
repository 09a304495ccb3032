// SPDX-License-Identifier: Apache-2.0
// Tokens to a tree.  The grammar of expressions, from loose to tight, is Jinja's:
//   a if b else c;  or;  and;  not;  == < in ...;  + -;  ~;  * / // %;  **;  unary + -;
//   then .attribute, [item], (call), |filter, is test.
// So "-1|abs" is -(1|abs) no more than in Jinja: the filter binds to the negated value.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/jinja/lexer.h"
#include "data/jinja/syntax.h"

namespace orthant::jinja {

class Parser {
 public:
  explicit Parser(const Source& source) : source_(source), tokens_(tokens_of(source)) {}
  Block run();

 private:
  using Node = std::unique_ptr<Expression>;
  using StatementNode = std::unique_ptr<Statement>;
  struct TupleOptions {
    bool with_condition = true, is_parenthesised = false;
    const char* end_word = nullptr;  // a name that ends the tuple: "recursive"
  };

  // tokens (parser.cpp)
  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool sees(std::string_view op) const;
  bool sees_word(std::string_view word) const;
  bool skip(std::string_view op);
  bool skip_word(std::string_view word);
  void want(std::string_view op);
  std::string want_name(const char* what);
  [[noreturn]] void fail(Place place, const std::string& message) const;
  [[noreturn]] void fail_here(const std::string& wanted) const;

  // statements (parser.cpp)
  Block parse_block(std::initializer_list<std::string_view> ends);
  Block parse_body(std::initializer_list<std::string_view> ends);
  StatementNode parse_statement();
  StatementNode parse_if(Place place);
  StatementNode parse_for(Place place);
  StatementNode parse_set(Place place);
  StatementNode parse_with(Place place);
  StatementNode parse_macro(Place place);
  StatementNode parse_call_block(Place place);
  StatementNode parse_filter_block(Place place);
  StatementNode parse_generation(Place place);
  StatementNode parse_jump(Place place, StatementKind kind);
  [[noreturn]] void refuse_tag(const Token& tag) const;
  void parse_parameters(Statement& macro);
  Block parse_function_body(Statement& macro, std::string_view end);
  ExpressionPtr parse_target(const char* end_word, bool with_namespace);
  void check_target(const Expression& target) const;

  // expressions (expression_parser.cpp)
  Node parse_tuple(TupleOptions options);
  Node parse_expression() { return parse_condition(); }
  Node parse_condition();
  Node parse_or();
  Node parse_and();
  Node parse_not();
  Node parse_compare();
  Node parse_sum();
  Node parse_concat();
  Node parse_product();
  Node parse_power();
  Node parse_unary(bool with_filter);
  Node parse_primary();
  Node parse_name();
  Node parse_list();
  Node parse_dict();

  // behind a value (postfix_parser.cpp)
  Node parse_postfix(Node node);
  Node parse_filters_and_tests(Node node);
  Node parse_subscript(Node node);
  Node parse_bracket(Node object, Place place);
  Node parse_call(Node callee);
  Node parse_filter(Node value);
  Node parse_test(Node value);
  void parse_test_argument(Expression& test);
  void parse_arguments(Expression& call);
  void check_named_function(const Expression& filter) const;
  Node node(ExpressionKind kind, Place place) const;
  void add_part(Expression& parent, Node part) const;

  // Counts nesting while it lives.
  class Deeper {
   public:
    explicit Deeper(Parser& parser);
    ~Deeper() { --parser_.depth_; }

   private:
    Parser& parser_;
  };

  const Source& source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;                      // that a break here would have
  std::vector<Statement*> functions_;  // macros and call blocks around here
};

}  // namespace orthant::jinja
