// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/report.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/text.h"
#include "trainer/run/report_chart.h"
#include "trainer/run/report_heat_map.h"

namespace orthant {
namespace {

ReportInput sample(int num_steps) {
  ReportInput input{.title = "demo <run> & \"more\""};
  input.facts = {{"model", "4 layers"}, {"machine", "<host>"}};
  for (int step = 1; step <= num_steps; ++step) {
    StepMetrics m{.step = step, .samples = step * 8, .tokens = step * 1024};
    m.lm_loss = 2 + 4.0 / step;
    m.loss = m.lm_loss;
    m.grad_norm = 1;
    m.learning_rate = 3e-4;
    m.step_ms = 100;
    m.tokens_per_second = 10240;
    if (step % 10 == 0) m.validation_loss = m.lm_loss + 0.1;
    input.metrics.push_back(m);
  }
  input.samples = {{"Prompt: ", "<script>alert(1)</script>\x01"}};
  input.config_yaml = "a: \"<b>\"\n";
  input.next_commands = {"orthant generate runs/demo --prompt \"x\""};
  return input;
}

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

TEST(Report, IsOneEscapedPageWithoutScriptsOrLinks) {
  const std::string html = render_report(sample(50));
  EXPECT_TRUE(html.starts_with("<!doctype html>"));
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("http"), std::string::npos);
  EXPECT_EQ(html.find('\x01'), std::string::npos);
  EXPECT_EQ(html.find("nan"), std::string::npos);
  EXPECT_EQ(html.find("inf,"), std::string::npos);
  for (const char* text :
       {"demo &lt;run&gt; &amp; &quot;more&quot;", "&lt;script&gt;alert(1)", "&lt;host&gt;",
        "a: &quot;&lt;b&gt;&quot;", "50 steps, 400 sequences, 51,200",
        "2.180 last, 2.180 best (step 50)", "orthant generate runs/demo", "<details>"}) {
    EXPECT_NE(html.find(text), std::string::npos) << text;
  }
  for (const char* tag : {"svg", "figure", "g", "table", "div", "span", "main", "text", "rect"}) {
    EXPECT_EQ(count(html, concat("<", tag, " ")) + count(html, concat("<", tag, ">")),
              count(html, concat("</", tag, ">")))
        << tag;
  }
  EXPECT_EQ(count(html, "<svg "), 4u);  // no experts: loss, learning rate, norm, throughput
}

// With balance losses the first part of the loss is called by its name, and the loss is shown too.
TEST(Report, LossMeansOneThing) {
  ReportInput input = sample(30);
  EXPECT_EQ(count(render_report(input), "LM loss"), 0u);
  for (StepMetrics& m : input.metrics) {
    m.balance_loss = 1.5;
    m.loss = m.lm_loss + 1.5;
  }
  const std::string html = render_report(input);
  for (const char* text : {"<b>LM loss</b>", "<b>Loss (all that is trained)</b>", "<b>2.133</b>",
                           "last training LM loss", "last validation LM loss",
                           "<th>training LM loss</th>", "<th>validation LM loss</th>"}) {
    EXPECT_NE(html.find(text), std::string::npos) << text;
  }
}

TEST(Report, ShowsExpertsAndFurtherNumbersWherePresent) {
  ReportInput input = sample(30);
  for (StepMetrics& m : input.metrics) {
    m.expert_load_max_over_mean = 1.5;
    m.balance_loss = 0.01;
    m.extra = {{"reward_mean", 0.5}};
  }
  input.metrics[10].expert_loads = {{1, 1, 1.5, 0.5}, {4, 0, 0, 0}};
  input.metrics[20].expert_loads = {{1, 1, 2, 0}, {1, 1, 1, 1}};
  const std::string html = render_report(input);
  for (const char* title :
       {"Expert imbalance", "Balance loss", "reward_mean", "Expert load at step",
        "layer 1, expert 2: 2 of the mean", "Greatest expert load",
        "layer 2, step 11: 4 of the mean", "layer 2, step 21: 1 of the mean"}) {
    EXPECT_NE(html.find(title), std::string::npos) << title;
  }
  EXPECT_EQ(count(html, " of the mean</title>"), 8u + 4u);
}

TEST(Report, SurvivesEmptyShortAndNonFiniteRuns) {
  EXPECT_NE(render_report({.title = "empty"}).find("<h1>empty</h1>"), std::string::npos);
  for (const int steps : {1, 2, 3}) {
    ReportInput input = sample(steps);
    input.metrics.back().grad_norm = std::nan("");
    input.metrics.back().lm_loss = std::numeric_limits<double>::infinity();
    const std::string html = render_report(input);
    EXPECT_EQ(html.find("nan"), std::string::npos);
    EXPECT_NE(html.find("n/a"), std::string::npos);
  }
}

TEST(Report, StaysSmallForLongRuns) {
  EXPECT_LT(render_report(sample(100000)).size(), size_t{400} * 1024);
}

TEST(Report, IsWrittenAtomically) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("orthant_report_" + std::to_string(getpid()));
  write_report(path, sample(3));
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove(path);
}

TEST(ReportChart, NumbersAreReadable) {
  const std::vector<std::pair<double, std::string>> cases = {
      {0, "0"},        {3.21449, "3.214"}, {3e-4, "3e-4"},  {2.5e-4, "2.5e-4"}, {1e-12, "1e-12"},
      {9999, "9999"},  {12345, "12.35k"},  {8.2e6, "8.2M"}, {-0.5, "-0.5"},     {7e9, "7B"},
      {3e20, "3e+20"}, {0.001, "0.001"},   {5e-5, "5e-5"}};
  for (const auto& [value, text] : cases) EXPECT_EQ(readable_number(value), text);
  EXPECT_EQ(readable_number(std::nan("")), "n/a");
}

TEST(ReportChart, TicksAreRoundAndInside) {
  EXPECT_EQ(axis_ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(axis_ticks(1, 1000, 6), (std::vector<double>{200, 400, 600, 800, 1000}));
  EXPECT_EQ(axis_ticks(-1, 1, 4), (std::vector<double>{-1, -0.5, 0, 0.5, 1}));
  EXPECT_EQ(axis_ticks(3, 3, 4), (std::vector<double>{3}));
}

HeatMapSpec map_of(std::vector<std::vector<double>> rows) {
  return {.title = "loads",
          .row_name = "layer",
          .column_name = "expert",
          .value_name = "of the mean",
          .rows = std::move(rows)};
}

// What is drawn for the one cell of layer 1, expert 0.
std::string first_cell(double value) {
  const std::string svg = heat_map(map_of({{value, 1}}));
  const size_t end = svg.find("<title>layer 1, expert 0");
  return end == std::string::npos ? "" : svg.substr(svg.rfind("<rect", end), 200);
}

TEST(HeatMap, ColoursSayWhichSideOfTheMeanAndHowFar) {
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(has(first_cell(0), "\"under\"") && has(first_cell(0), "opacity=\"1.00\""));
  EXPECT_TRUE(has(first_cell(0.5), "\"under\"") && has(first_cell(0.5), "opacity=\"0.50\""));
  EXPECT_TRUE(has(first_cell(1), "opacity=\"0.00\""));
  EXPECT_TRUE(has(first_cell(2), "\"over\"") && has(first_cell(2), "opacity=\"0.50\""));
  EXPECT_TRUE(has(first_cell(4), "\"over\"") && has(first_cell(4), "opacity=\"1.00\""));
  EXPECT_TRUE(has(first_cell(100), "opacity=\"1.00\""));
  EXPECT_EQ(first_cell(std::nan("")), "");
  EXPECT_EQ(heat_map(map_of({})), "");
  EXPECT_EQ(heat_map(map_of({{std::nan("")}})), "");
}

// The one expert that got four times the mean is seen, however many cells there are.
TEST(HeatMap, GatheredCellsHideNoExtreme) {
  for (const size_t size : {16, 256, 1000}) {
    std::vector<std::vector<double>> rows(size, std::vector<double>(size, 1.0));
    rows[size / 3][size / 2] = 4.0;
    const std::string svg = heat_map(map_of(rows));
    EXPECT_EQ(count(svg, ": 4 of the mean"), 1u) << size;
    EXPECT_LE(count(svg, "<title>"), 64u * 256u);
    EXPECT_EQ(count(svg, "<title>"), std::min<size_t>(size, 64) * std::min<size_t>(size, 256));
  }
}

TEST(ReportChart, PeaksGetALogarithmicAxisAndGapsBreakTheLine) {
  ChartSeries series{.name = "norm"};
  for (int i = 0; i < 100; ++i) {
    series.x.push_back(i);
    series.y.push_back(i == 50 ? 1000 : 1 + 0.01 * i);
  }
  EXPECT_NE(line_chart({.title = "t", .series = {series}}).find("logarithmic"), std::string::npos);
  series.y[50] = std::nan("");
  const std::string chart = line_chart({.title = "t", .series = {series}});
  EXPECT_EQ(chart.find("logarithmic"), std::string::npos);
  EXPECT_EQ(count(chart, "class=\"line\""), 2u);
  for (double& y : series.y) y = std::nan("");
  EXPECT_EQ(line_chart({.title = "t", .series = {series}}), "");
}

}  // namespace
}  // namespace orthant
