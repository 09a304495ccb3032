// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/report_heat_map.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>

#include "base/text.h"
#include "trainer/run/report_chart.h"

namespace orthant {
namespace {

constexpr double kWidth = 1120, kLeft = 58, kRight = 16, kTop = 30, kBottom = 38;
constexpr size_t kMaxRows = 64, kMaxColumns = 256;
constexpr double kStrongest = 4.0;  // this multiple of the mean, and a load of 0, are full colour

template <class... Values>
std::string format(const char* pattern, Values... values) {
  std::array<char, 256> buffer;
  std::snprintf(buffer.data(), buffer.size(), pattern, values...);
  return buffer.data();
}

// 0 at 1; 1 at `kStrongest` and beyond, and at 0.
double strength(double value) {
  const double distance =
      value > 1 ? std::log(value) / std::log(kStrongest) : 1 - std::max(value, 0.0);
  return std::clamp(distance, 0.0, 1.0);
}

std::string cell(double x, double y, double width, double height, double value) {
  return format(
      "<rect class=\"%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" "
      "fill-opacity=\"%.2f\">",
      value > 1 ? "over" : "under", x, y, width, height, strength(value));
}

// Of a range of values: the one farthest from 1.
double farthest(const std::vector<std::vector<double>>& rows, size_t row_begin, size_t row_end,
                size_t begin, size_t end) {
  double found = std::numeric_limits<double>::quiet_NaN();
  for (size_t r = row_begin; r < row_end; ++r) {
    for (size_t c = begin; c < std::min(end, rows[r].size()); ++c) {
      const double value = rows[r][c];
      if (std::isfinite(value) && !(strength(value) <= strength(found))) found = value;
    }
  }
  return found;
}

// Sample cells with their values, at the right end of the top line.
std::string legend(const std::string& value_name) {
  constexpr std::array<double, 8> kValues = {0, 0.25, 0.5, 1, 1.5, 2, 3, 4};
  constexpr double kCell = 40, kY = 8;
  const double x0 = kWidth - kRight - kCell * static_cast<double>(kValues.size());
  std::string svg =
      format("<text class=\"tick\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">", x0 - 8, kY + 11) +
      escape_html(value_name) + "</text>";
  for (size_t i = 0; i < kValues.size(); ++i) {
    const double x = x0 + kCell * static_cast<double>(i);
    svg += format("<rect class=\"frame\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"/>", x,
                  kY - 5, kCell, 19.0);
    svg += cell(x, kY - 5, kCell, 19, kValues[i]) + "</rect>";
    svg += format("<text class=\"mark%s\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%g%s</text>",
                  strength(kValues[i]) > 0.6 ? " full" : "", x + kCell / 2, kY + 9, kValues[i],
                  i + 1 == kValues.size() ? "+" : "");
  }
  return svg;
}

}  // namespace

std::string heat_map(const HeatMapSpec& spec) {
  size_t width = 0;
  for (const auto& row : spec.rows) width = std::max(width, row.size());
  if (std::isnan(farthest(spec.rows, 0, spec.rows.size(), 0, width))) return "";
  const size_t columns = std::min(width, kMaxColumns);
  const size_t shown = std::min(spec.rows.size(), kMaxRows);
  const double cell_width = (kWidth - kLeft - kRight) / static_cast<double>(columns);
  const double cell_height = std::clamp(400.0 / static_cast<double>(shown), 12.0, 28.0);
  const double gap = cell_width > 8 ? 1.0 : 0.0;  // narrow cells touch
  const double height = kTop + cell_height * static_cast<double>(shown) + kBottom;
  std::vector<double> names = spec.columns;
  if (names.empty()) {
    names.resize(width);
    std::iota(names.begin(), names.end(), 0.0);
  }
  std::string svg =
      format("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", kWidth, height) +
      escape_html(spec.title) + "\">" + legend(spec.value_name);
  const size_t label_every = (shown + 31) / 32;
  for (size_t r = 0; r < shown; ++r) {
    const size_t row_begin = r * spec.rows.size() / shown;
    const size_t row_end = (r + 1) * spec.rows.size() / shown;
    const double y = kTop + cell_height * static_cast<double>(r);
    if (r % label_every == 0) {
      svg += format("<text class=\"tick\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">%zu</text>",
                    kLeft - 8, y + cell_height / 2 + 4, row_begin + 1);
    }
    for (size_t c = 0; c < columns; ++c) {
      const size_t begin = c * width / columns, end = (c + 1) * width / columns;
      const double value = farthest(spec.rows, row_begin, row_end, begin, end);
      if (!std::isfinite(value)) continue;
      svg += cell(kLeft + cell_width * static_cast<double>(c), y, cell_width - gap, cell_height - 1,
                  value) +
             concat("<title>",
                    escape_html(concat(spec.row_name, " ", row_begin + 1, ", ", spec.column_name,
                                       " ", readable_number(names[begin]), ": ",
                                       readable_number(value), " ", spec.value_name)),
                    "</title></rect>");
    }
  }
  svg += format("<rect class=\"frame\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"/>",
                kLeft, kTop, kWidth - kLeft - kRight, cell_height * static_cast<double>(shown));
  const size_t label_columns = std::max<size_t>(1, (columns + 15) / 16);
  for (size_t c = 0; c < columns; c += label_columns) {
    svg += format("<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">",
                  kLeft + cell_width * (static_cast<double>(c) + 0.5), height - kBottom + 16) +
           readable_number(names[c * width / columns]) + "</text>";
  }
  svg += format("<text class=\"tick\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">", kLeft - 8,
                kTop - 10) +
         escape_html(spec.row_name) + "</text>";
  svg += format("<text class=\"tick\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">", kWidth - kRight,
                height - 4) +
         escape_html(spec.column_name) + "</text>";
  return concat("<figure class=\"wide\"><figcaption><b>", escape_html(spec.title), "</b><span>",
                escape_html(spec.note), "</span></figcaption><div class=\"scroll\">", svg,
                "</svg></div></figure>\n");
}

}  // namespace orthant
