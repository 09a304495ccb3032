// SPDX-License-Identifier: Apache-2.0
// Pictures of report.html: line charts as SVG text, coloured by the page's style sheet (classes, no
// colours here).  Pure functions.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace orthant {

struct ChartSeries {
  std::string name;
  std::vector<double> x;  // ascending
  std::vector<double> y;  // values that are not finite leave a gap
  bool markers = false;   // few, separate measurements
};

struct ChartSpec {
  std::string title;
  std::vector<ChartSeries> series;  // at most four
  bool from_zero = false;           // the y axis begins at 0
};

// A chart with axes over the steps.  More points than pixels are drawn as their mean with a band
// from least to greatest.  The y axis is logarithmic when single peaks would flatten the rest.
// Empty when no value is finite.
std::string line_chart(const ChartSpec& spec);

// "3.214", "12.3k", "8.2M", "3e-4", "n/a".
std::string readable_number(double value);

// Round positions that cover [low, high], about `wanted` of them.
std::vector<double> axis_ticks(double low, double high, int wanted);

// Text for HTML and SVG, control bytes replaced.
std::string escape_html(const std::string& text);

}  // namespace orthant
