// SPDX-License-Identifier: Apache-2.0
// The style sheet of report.html as a browser reads it: a rule that it would drop in silence is an
// error here.
#include "trainer/run/report_style.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "trainer/run/report.h"

namespace orthant {
namespace {

struct Rule {
  std::string head;          // selectors, or "@media ..."
  std::string declarations;  // of a plain rule
  std::vector<Rule> rules;   // of an at-rule
};

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \n");
  return begin == std::string::npos ? ""
                                    : text.substr(begin, text.find_last_not_of(" \n") + 1 - begin);
}

// Up to the brace that closes the block, or the end.
std::vector<Rule> parse_rules(const std::string& css, size_t& at, int depth) {
  std::vector<Rule> rules;
  while (true) {
    const size_t open = css.find('{', at), close = css.find('}', at);
    if (close < open) {
      EXPECT_GT(depth, 0) << "a } too many before " << css.substr(close, 60);
      EXPECT_EQ(trimmed(css.substr(at, close - at)), "");
      at = close + 1;
      return rules;
    }
    if (open == std::string::npos) {
      EXPECT_EQ(depth, 0) << "a } is missing";
      EXPECT_EQ(trimmed(css.substr(at)), "");
      return rules;
    }
    Rule rule{.head = trimmed(css.substr(at, open - at))};
    at = open + 1;
    if (rule.head.starts_with("@")) {
      rule.rules = parse_rules(css, at, depth + 1);
    } else {
      rule.declarations = css.substr(at, close - at);
      EXPECT_EQ(rule.declarations.find('{'), std::string::npos) << rule.head;
      at = close + 1;
    }
    rules.push_back(std::move(rule));
  }
}

std::vector<Rule> rules_of(const std::string& css) {
  size_t at = 0;
  return parse_rules(css, at, 0);
}

// "color: red; margin: 0" by name.
std::map<std::string, std::string> declarations_of(const Rule& rule) {
  std::map<std::string, std::string> values;
  std::istringstream in(rule.declarations);
  for (std::string part; std::getline(in, part, ';');) {
    if (trimmed(part).empty()) continue;
    const size_t colon = part.find(':');
    EXPECT_NE(colon, std::string::npos) << rule.head << ": " << part;
    values[trimmed(part.substr(0, colon))] = trimmed(part.substr(colon + 1));
  }
  return values;
}

std::map<std::string, Rule> by_head(const std::vector<Rule>& rules) {
  std::map<std::string, Rule> found;
  for (const Rule& rule : rules) {
    EXPECT_TRUE(found.emplace(rule.head, rule).second) << rule.head << " stands twice";
  }
  return found;
}

// Selectors of elements, classes and pseudo-classes, nothing else.
void check_selectors(const std::vector<Rule>& rules) {
  static const std::set<std::string> elements = {
      "*", "body", "main", "h1", "h2", "figure", "figcaption", "i",       "b",   "span",  "svg",
      "g", "text", "rect", "th", "td", "tr",     "details",    "summary", "pre", "footer"};
  for (const Rule& rule : rules) {
    check_selectors(rule.rules);
    if (rule.head.starts_with("@")) continue;
    std::istringstream lists(rule.head);
    for (std::string list; std::getline(lists, list, ',');) {
      std::istringstream words(list);
      for (std::string word; words >> word;) {
        const std::string element = word.substr(0, word.find_first_of(".:"));
        EXPECT_TRUE(element.empty() || word == ">" || elements.contains(element))
            << "'" << rule.head << "': no element of the page is called " << element;
      }
    }
  }
}

TEST(ReportStyle, EveryRuleIsOneThatABrowserTakes) {
  const std::vector<Rule> rules = rules_of(kReportStyle);
  check_selectors(rules);
  for (const Rule& rule : rules) {
    if (rule.head.starts_with("@")) {
      EXPECT_TRUE(rule.head.starts_with("@media ")) << rule.head;
      EXPECT_FALSE(rule.rules.empty()) << rule.head;
    }
    declarations_of(rule);
    for (const Rule& inner : rule.rules) declarations_of(inner);
  }
  const std::string page = render_report({.title = "t"});
  EXPECT_NE(page.find(std::string("<style>") + kReportStyle + "</style>"), std::string::npos);
}

// The dark scheme gives every colour anew; nothing uses a colour that is not given.
TEST(ReportStyle, DarkSchemeReplacesEveryColour) {
  const std::string css = kReportStyle;
  const auto rules = by_head(rules_of(css));
  const auto dark = rules.find("@media screen and (prefers-color-scheme: dark)");
  ASSERT_NE(dark, rules.end());
  ASSERT_EQ(dark->second.rules.size(), 1u);
  ASSERT_EQ(dark->second.rules.front().head, ":root");
  const auto light_values = declarations_of(rules.at(":root"));
  const auto dark_values = declarations_of(dark->second.rules.front());
  for (const auto& [name, value] : light_values) {
    ASSERT_TRUE(dark_values.contains(name)) << name;
    EXPECT_NE(dark_values.at(name), value) << name;
  }
  EXPECT_EQ(dark_values.size(), light_values.size());
  EXPECT_EQ(dark_values.at("color-scheme"), "dark");
  for (size_t at = css.find("var("); at != std::string::npos; at = css.find("var(", at + 1)) {
    const std::string name = css.substr(at + 4, css.find(')', at) - at - 4);
    EXPECT_TRUE(light_values.contains(name) || name == "--c") << name;
  }
}

TEST(ReportStyle, PaperHasNoBackgroundAndCutsNoPicture) {
  const auto rules = by_head(rules_of(kReportStyle));
  ASSERT_TRUE(rules.contains("@media print"));
  const auto print = by_head(rules.at("@media print").rules);
  EXPECT_EQ(declarations_of(print.at("body")).at("background"), "none");
  EXPECT_EQ(declarations_of(print.at("figure, .sample, .facts tr")).at("break-inside"), "avoid");
  // What scrolls on a screen cannot on paper.
  EXPECT_TRUE(declarations_of(rules.at(".scroll svg")).contains("min-width"));
  EXPECT_EQ(declarations_of(print.at(".scroll svg")).at("min-width"), "0");
}

// On a screen 400 pixels wide a chart has about 330: its text stays at 10 pixels.
TEST(ReportStyle, ChartTextIsReadableOnANarrowScreen) {
  const auto rules = by_head(rules_of(kReportStyle));
  ASSERT_TRUE(rules.contains("@media (max-width: 620px)"));
  const auto narrow = by_head(rules.at("@media (max-width: 620px)").rules);
  const double size = std::stod(declarations_of(narrow.at(".charts .tick")).at("font-size"));
  ReportInput input{.title = "t"};
  for (int64_t step = 1; step <= 3; ++step) input.metrics.push_back({.step = step, .lm_loss = 1});
  const std::string page = render_report(input);
  const size_t box = page.find("viewBox=\"0 0 ");
  ASSERT_NE(box, std::string::npos);
  EXPECT_GE(330 / std::stod(page.substr(box + 13)) * size, 10.0);
}

}  // namespace
}  // namespace orthant
