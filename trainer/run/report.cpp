// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <optional>

#include "base/durable_file.h"
#include "base/text.h"
#include "trainer/run/progress.h"
#include "trainer/run/report_chart.h"
#include "trainer/run/report_heat_map.h"
#include "trainer/run/report_style.h"
#include "trainer/run/run_dir.h"

namespace orthant {
namespace {

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

// "loss" is what training lessens, everywhere: the language model's, the balance losses and that of
// multi-token prediction, or that of a teacher.  Where there are others the first is told by name;
// validation has that part alone.
std::string lm_loss_name(const std::vector<StepMetrics>& metrics) {
  return std::any_of(metrics.begin(), metrics.end(), has_other_losses) ? "LM loss" : "loss";
}

std::string tile(const std::string& value, const std::string& label) {
  return concat("<div class=\"tile\"><b>", escape_html(value), "</b><span>", escape_html(label),
                "</span></div>\n");
}

std::string tiles(const std::vector<StepMetrics>& metrics) {
  if (metrics.empty()) return "";
  const StepMetrics& last = metrics.back();
  const std::string loss_name = lm_loss_name(metrics);
  std::string html = tile(loss_text(last.lm_loss), "last training " + loss_name);
  if (const StepMetrics* m = last_validation(metrics)) {
    html += tile(loss_text(*m->validation_loss), "last validation " + loss_name);
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
    const std::string loss_name = lm_loss_name(metrics);
    rows.emplace_back("steps, tokens",
                      concat(with_thousands(last.step), " steps, ", with_thousands(last.samples),
                             " sequences, ", with_thousands(last.tokens), " tokens"));
    rows.emplace_back("training " + loss_name,
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
      rows.emplace_back("validation " + loss_name, text);
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
  const bool has_others = lm_loss_name(metrics) != "loss";
  ChartSpec loss{.title = has_others ? "LM loss" : "Loss"};
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
  some(
      "MTP loss (the token after the next)", false, [](auto& m) -> auto& { return m.mtp_loss; });
  if (has_others) one("Loss (all that is trained)", false, [](auto& m) { return m.loss; });
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
    if (sample.before)
      html += concat("<div class=\"sample\"><small>before: </small>", escape_html(*sample.before),
                     "</div>\n");
  }
  return html.empty() ? "" : concat("<h2>Samples</h2>\n", html);
}

std::string pipeline_picture(const ReportInput& input) {
  if (!input.pipeline) return "";
  return concat("<h2>Pipeline</h2>\n<figure><div class=\"scroll timeline\">",
                timeline_svg(input.pipeline->timelines), "</div><figcaption><span>",
                escape_html(input.pipeline->text()), "</span></figcaption></figure>\n");
}

}  // namespace

std::string render_report(const ReportInput& input) {
  std::string commands;
  for (const std::string& command : input.next_commands) commands += escape_html(command) + "\n";
  return concat(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
      escape_html(input.title), "</title>\n<style>", kReportStyle,
      "</style></head>\n<body><main>\n<h1>", escape_html(input.title), "</h1>\n",
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
  replace_file(path, render_report(input));
}

}  // namespace orthant
