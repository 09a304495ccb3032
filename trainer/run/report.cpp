// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <optional>

#include "base/text.h"
#include "trainer/run/progress.h"
#include "trainer/run/report_chart.h"
#include "trainer/run/report_heat_map.h"
#include "trainer/run/run_dir.h"

namespace orthant {
namespace {

constexpr const char* kStyle = R"(
:root { --page: #f5f6f8; --card: #ffffff; --ink: #1b2130; --soft: #667085; --edge: #e2e6ec;
  --grid: #edf0f4; --c1: #2f6fde; --c2: #d9650d; --c3: #16885c; --c4: #8a4fd3; color-scheme: light; }
media (prefers-color-scheme: dark) {
  :root { --page: #0e1117; --card: #161b24; --ink: #e6e9ef; --soft: #98a2b3; --edge: #272e3b;
    --grid: #222936; --c1: #6ea8fe; --c2: #ffa057; --c3: #4fcf9a; --c4: #c39bff; color-scheme: dark; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 20px 56px; }
h1 { font-size: 26px; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 32px 0 12px; }
.soft { color: var(--soft); margin: 4px 0 0; }
.tiles { display: grid; gap: 12px; margin-top: 24px;
  grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); }
.tile, figure, .facts, .sample, details, pre.go { background: var(--card);
  border: 1px solid var(--edge); border-radius: 10px; }
.tile { padding: 14px 16px; }
.tile b { display: block; font-size: 24px; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.charts { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); }
figure { margin: 0; padding: 14px 14px 8px; min-width: 0; }
figcaption { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline; padding: 0 4px 4px; }
figcaption span { color: var(--soft); font-size: 13px; }
figcaption i { display: inline-block; width: 16px; height: 3px; border-radius: 2px; margin-right: 6px;
  vertical-align: middle; background: currentColor; color: var(--c); }
svg { display: block; width: 100%; height: auto; }
.s1 { --c: var(--c1); } .s2 { --c: var(--c2); } .s3 { --c: var(--c3); } .s4 { --c: var(--c4); }
.line { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round; }
.band { fill: var(--c); fill-opacity: 0.18; }
.dot { fill: var(--c); stroke: var(--card); stroke-width: 1; }
.grid { stroke: var(--grid); } .axis { stroke: var(--edge); stroke-width: 1.5; }
.tick { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.hover { fill: var(--ink); fill-opacity: 0; } .hover:hover { fill-opacity: 0.07; }
.under { fill: var(--c1); } .over { fill: var(--c2); } .frame { fill: none; stroke: var(--edge); }
.mark { fill: var(--ink); font-size: 12px; } .wide { grid-column: 1 / -1; }
.facts { width: 100%; border-spacing: 0; overflow: hidden; }
.facts th, .facts td { text-align: left; padding: 7px 16px; vertical-align: top;
  border-top: 1px solid var(--grid); overflow-wrap: anywhere; }
.facts tr:first-child th, .facts tr:first-child td { border-top: 0; }
.facts th { color: var(--soft); font-weight: 500; width: 14em; }
.sample { padding: 12px 16px; margin-bottom: 10px; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13.5px/1.55 ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
.sample .prompt { color: var(--soft); }
details { padding: 10px 16px; } summary { cursor: pointer; }
pre { margin: 0; overflow-x: auto; font: 13px/1.5 ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
details pre { padding-top: 10px; } pre.go { padding: 12px 16px; }
footer { color: var(--soft); font-size: 13px; margin-top: 32px; }
media print { body { background: none; } figure, .sample { break-inside: avoid; } }
)";

using Getter = std::function<double(const StepMetrics&)>;
using OptionalGetter = std::function<const std::optional<double>&(const StepMetrics&)>;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

ChartSeries series_of(const std::vector<StepMetrics>& metrics, const std::string& name,
                      const Getter& get) {
  ChartSeries series{.name = name};
  for (const StepMetrics& m : metrics) {
    series.x.push_back(static_cast<double>(m.step));
    series.y.push_back(get(m));
  }
  return series;
}

// Only the steps that have the value; marked when they are few.
ChartSeries sparse_series_of(const std::vector<StepMetrics>& metrics, const std::string& name,
                             const OptionalGetter& get) {
  constexpr size_t kMaxMarked = 60;
  ChartSeries series{.name = name};
  for (const StepMetrics& m : metrics) {
    const std::optional<double>& value = get(m);
    if (!value) continue;
    series.x.push_back(static_cast<double>(m.step));
    series.y.push_back(*value);
  }
  series.markers = series.x.size() <= kMaxMarked && series.x.size() < metrics.size();
  return series;
}

double median(const std::vector<StepMetrics>& metrics, const Getter& get) {
  std::vector<double> values;
  for (const StepMetrics& m : metrics) {
    if (std::isfinite(get(m))) values.push_back(get(m));
  }
  if (values.empty()) return kNan;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

const StepMetrics* best_validation(const std::vector<StepMetrics>& metrics) {
  const StepMetrics* best = nullptr;
  for (const StepMetrics& m : metrics) {
    if (m.validation_loss && (!best || *m.validation_loss < *best->validation_loss)) best = &m;
  }
  return best;
}

const StepMetrics* last_validation(const std::vector<StepMetrics>& metrics) {
  for (size_t i = metrics.size(); i > 0; --i) {
    if (metrics[i - 1].validation_loss) return &metrics[i - 1];
  }
  return nullptr;
}

// Always three decimals, so that losses can be compared.
std::string loss_text(double value) {
  if (!std::isfinite(value)) return "n/a";
  std::array<char, 64> buffer;
  std::snprintf(buffer.data(), buffer.size(), "%.3f", value);
  return buffer.data();
}

std::string flops_text(double tflops) {
  if (tflops >= 1e3) return concat(readable_number(tflops / 1e3), " PFLOP/s");
  if (tflops >= 1) return concat(readable_number(tflops), " TFLOP/s");
  return concat(readable_number(tflops * 1e3), " GFLOP/s");
}

std::string tile(const std::string& value, const std::string& label) {
  return concat("<div class=\"tile\"><b>", escape_html(value), "</b><span>", escape_html(label),
                "</span></div>\n");
}

std::string tiles(const std::vector<StepMetrics>& metrics) {
  if (metrics.empty()) return "";
  const StepMetrics& last = metrics.back();
  std::string html = tile(loss_text(last.lm_loss), "last training loss");
  if (const StepMetrics* m = last_validation(metrics)) {
    html += tile(loss_text(*m->validation_loss), "last validation loss");
  }
  const double speed = median(metrics, [](auto& m) { return m.tokens_per_second; });
  html += tile(readable_number(speed), "tokens per second (median)");
  html += tile(readable_number(static_cast<double>(last.tokens)), "tokens seen");
  html += tile(with_thousands(last.step), "steps");
  return concat("<div class=\"tiles\">", html, "</div>\n");
}

std::string facts(const ReportInput& input) {
  auto rows = input.facts;
  const std::vector<StepMetrics>& metrics = input.metrics;
  if (!metrics.empty()) {
    const StepMetrics& last = metrics.back();
    rows.emplace_back("steps, tokens",
                      concat(with_thousands(last.step), " steps, ", with_thousands(last.samples),
                             " sequences, ", with_thousands(last.tokens), " tokens"));
    rows.emplace_back("training loss",
                      concat(loss_text(metrics.front().lm_loss), " at step ", metrics.front().step,
                             ", ", loss_text(last.lm_loss), " at the end"));
    if (const StepMetrics* best = best_validation(metrics)) {
      const StepMetrics* latest = last_validation(metrics);
      std::string text =
          concat(loss_text(*latest->validation_loss), " last, ", loss_text(*best->validation_loss),
                 " best (step ", with_thousands(best->step), ")");
      if (latest->validation_bits_per_byte) {
        text += concat(", ", loss_text(*latest->validation_bits_per_byte), " bits per byte");
      }
      rows.emplace_back("validation loss", text);
    }
    const double flops = median(metrics, [](auto& m) { return m.model_tflops; });
    const double mfu = median(metrics, [](auto& m) { return m.mfu; });
    std::string speed =
        concat(readable_number(median(metrics, [](auto& m) { return m.tokens_per_second; })),
               " tokens/s, ", readable_number(median(metrics, [](auto& m) { return m.step_ms; })),
               " ms a step");
    if (flops > 0) speed += concat(", ", flops_text(flops), " of the model");
    if (mfu > 0) speed += concat(", MFU ", readable_number(mfu * 100), "%");
    rows.emplace_back("throughput (median)", speed);
    double total_ms = 0;
    int64_t memory = 0;
    for (const StepMetrics& m : metrics) {
      if (std::isfinite(m.step_ms)) total_ms += m.step_ms;
      memory = std::max(memory, m.memory_peak_bytes);
    }
    if (last.expert_load_entropy && last.expert_load_max_over_mean) {
      rows.emplace_back(
          "expert load (worst layer)",
          concat("greatest over mean ", readable_number(*last.expert_load_max_over_mean),
                 ", entropy ", readable_number(*last.expert_load_entropy), " of 1, dropped ",
                 readable_number(100 * last.dropped_fraction.value_or(0)), "%"));
    }
    rows.emplace_back("time in steps", clock_text(total_ms / 1e3));
    if (memory > 0) rows.emplace_back("peak memory", human_bytes(static_cast<double>(memory)));
  }
  if (rows.empty()) return "";
  std::string html;
  for (const auto& [name, value] : rows) {
    html += concat("<tr><th>", escape_html(name), "</th><td>", escape_html(value), "</td></tr>\n");
  }
  return concat("<h2>Summary</h2>\n<table class=\"facts\">", html, "</table>\n");
}

// The last loads that were logged, and how far the greatest of each layer was from the mean during
// the run.
std::string load_maps(const std::vector<StepMetrics>& metrics) {
  const StepMetrics* last = nullptr;
  HeatMapSpec greatest{.title = "Greatest expert load over the run",
                       .note = "one row per MoE layer, one column per logged step",
                       .row_name = "layer",
                       .column_name = "step",
                       .value_name = "of the mean"};
  for (const StepMetrics& m : metrics) {
    if (m.expert_loads.empty()) continue;
    last = &m;
    greatest.rows.resize(std::max(greatest.rows.size(), m.expert_loads.size()));
    for (size_t layer = 0; layer < m.expert_loads.size(); ++layer) {
      const std::vector<double>& loads = m.expert_loads[layer];
      greatest.rows[layer].resize(greatest.columns.size(), kNan);
      greatest.rows[layer].push_back(loads.empty() ? kNan
                                                   : *std::max_element(loads.begin(), loads.end()));
    }
    greatest.columns.push_back(static_cast<double>(m.step));
  }
  if (!last) return "";
  const HeatMapSpec loads{.title = concat("Expert load at step ", with_thousands(last->step)),
                          .note = "one row per MoE layer, one cell per expert",
                          .row_name = "layer",
                          .column_name = "expert",
                          .value_name = "of the mean",
                          .rows = last->expert_loads};
  return heat_map(loads) + (greatest.columns.size() > 1 ? heat_map(greatest) : "");
}

std::string charts(const std::vector<StepMetrics>& metrics) {
  ChartSpec loss{.title = "Loss"};
  loss.series.push_back(series_of(metrics, "training", [](auto& m) { return m.lm_loss; }));
  ChartSeries validation = sparse_series_of(
      metrics, "validation", [](auto& m) -> auto& { return m.validation_loss; });
  if (!validation.x.empty()) loss.series.push_back(std::move(validation));
  std::string html = line_chart(loss);
  const auto one = [&](const char* title, bool from_zero, const Getter& get) {
    html += line_chart(
        {.title = title, .series = {series_of(metrics, title, get)}, .from_zero = from_zero});
  };
  one("Learning rate", true, [](auto& m) { return m.learning_rate; });
  one("Gradient norm", false, [](auto& m) { return m.grad_norm; });
  one("Tokens per second", true, [](auto& m) { return m.tokens_per_second; });
  const auto some = [&](const char* title, bool from_zero, const OptionalGetter& get) {
    ChartSeries series = sparse_series_of(metrics, title, get);
    if (series.x.empty()) return;
    html += line_chart({.title = title, .series = {std::move(series)}, .from_zero = from_zero});
  };
  some(
      "Expert imbalance (greatest load / mean)", false,
      [](auto& m) -> auto& { return m.expert_load_max_over_mean; });
  some(
      "Entropy of the expert load (1 = even)", false,
      [](auto& m) -> auto& { return m.expert_load_entropy; });
  some(
      "Balance loss", false, [](auto& m) -> auto& { return m.balance_loss; });
  const bool dropped = std::any_of(metrics.begin(), metrics.end(),
                                   [](auto& m) { return m.dropped_fraction.value_or(0) > 0; });
  if (dropped) {
    some(
        "Dropped fraction", true, [](auto& m) -> auto& { return m.dropped_fraction; });
  }
  std::vector<std::string> names;  // of the further numbers
  for (const StepMetrics& m : metrics) {
    for (const auto& [name, value] : m.extra) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  for (const std::string& name : names) {
    one(name.c_str(), false, [&](const StepMetrics& m) {
      for (const auto& [key, value] : m.extra) {
        if (key == name) return value;
      }
      return kNan;
    });
  }
  html += load_maps(metrics);
  return html.empty() ? "" : concat("<h2>Curves</h2>\n<div class=\"charts\">\n", html, "</div>\n");
}

std::string samples(const std::vector<ReportSample>& samples) {
  std::string html;
  for (const ReportSample& sample : samples) {
    html += concat("<div class=\"sample\"><span class=\"prompt\">", escape_html(sample.prompt),
                   "</span>", escape_html(sample.completion), "</div>\n");
  }
  return html.empty() ? "" : concat("<h2>Samples</h2>\n", html);
}

std::string pipeline_picture(const ReportInput& input) {
  if (!input.pipeline) return "";
  return concat("<h2>Pipeline</h2>\n<figure>", timeline_svg(input.pipeline->timelines),
                "<figcaption><span>", escape_html(input.pipeline->text()),
                "</span></figcaption></figure>\n");
}

}  // namespace

std::string render_report(const ReportInput& input) {
  std::string commands;
  for (const std::string& command : input.next_commands) commands += escape_html(command) + "\n";
  return concat(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
      escape_html(input.title), "</title>\n<style>", kStyle, "</style></head>\n<body><main>\n<h1>",
      escape_html(input.title), "</h1>\n",
      input.subtitle.empty() ? ""
                             : concat("<p class=\"soft\">", escape_html(input.subtitle), "</p>\n"),
      tiles(input.metrics), charts(input.metrics), pipeline_picture(input), facts(input),
      samples(input.samples),
      commands.empty() ? "" : concat("<h2>Next</h2>\n<pre class=\"go\">", commands, "</pre>\n"),
      input.config_yaml.empty()
          ? ""
          : concat(
                "<h2>Configuration</h2>\n<details><summary>config.yaml, as resolved</summary><pre>",
                escape_html(input.config_yaml), "</pre></details>\n"),
      "<footer>Written by Orthant. The numbers of every step are in metrics.jsonl.</footer>\n"
      "</main></body></html>\n");
}

void write_report(const std::string& path, const ReportInput& input) {
  write_file_atomically(path, render_report(input));
}

}  // namespace orthant
