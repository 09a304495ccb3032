// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/report_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

#include "base/text.h"

namespace orthant {
namespace {

// Left and below is room for text half as large again (report_style.h).
constexpr double kWidth = 480, kHeight = 225;
constexpr double kLeft = 66, kRight = 16, kTop = 12, kBottom = 30;
constexpr size_t kMaxPoints = 400;  // per line; more are gathered in buckets
constexpr size_t kMaxHovers = 120;

template <class... Values>
std::string format(const char* pattern, Values... values) {
  std::array<char, 128> buffer;
  std::snprintf(buffer.data(), buffer.size(), pattern, values...);
  return buffer.data();
}

// What is drawn at one place of a line.
struct Point {
  double x = 0, mean = 0, low = 0, high = 0;
  bool finite = false;
};

std::vector<Point> gather(const ChartSeries& series) {
  const size_t size = std::min(series.x.size(), series.y.size());
  const size_t num_points = std::min(size, kMaxPoints);
  std::vector<Point> points(num_points);
  for (size_t p = 0; p < num_points; ++p) {
    Point& point = points[p];
    const size_t begin = p * size / num_points, end = (p + 1) * size / num_points;
    double sum = 0;
    int count = 0;
    for (size_t i = begin; i < end; ++i) {
      point.x += series.x[i] / static_cast<double>(end - begin);
      const double y = series.y[i];
      if (!std::isfinite(y)) continue;
      point.low = count == 0 ? y : std::min(point.low, y);
      point.high = count == 0 ? y : std::max(point.high, y);
      sum += y;
      ++count;
    }
    point.finite = count > 0;
    point.mean = count > 0 ? sum / count : 0;
  }
  return points;
}

// Maps data to the picture.
struct Frame {
  double x_low = 0, x_high = 1, y_low = 0, y_high = 1;
  bool logarithmic = false;

  double x(double value) const {
    return kLeft + (value - x_low) / (x_high - x_low) * (kWidth - kLeft - kRight);
  }
  double y(double value) const {
    const double low = logarithmic ? std::log10(y_low) : y_low;
    const double high = logarithmic ? std::log10(y_high) : y_high;
    const double at = logarithmic ? std::log10(std::max(value, y_low)) : value;
    return kHeight - kBottom - (at - low) / (high - low) * (kHeight - kTop - kBottom);
  }
};

// One far peak, or several powers of ten: a straight axis would show a flat line.
bool wants_logarithm(std::vector<double> values) {
  if (values.size() < 8) return false;
  std::sort(values.begin(), values.end());
  return values.front() > 0 && values.back() > 20 * values[values.size() / 2];
}

bool make_frame(const ChartSpec& spec, const std::vector<std::vector<Point>>& lines, Frame& frame) {
  frame.x_low = frame.y_low = std::numeric_limits<double>::infinity();
  frame.x_high = frame.y_high = -frame.x_low;
  for (const ChartSeries& series : spec.series) {
    if (series.x.empty()) continue;
    frame.x_low = std::min(frame.x_low, series.x.front());
    frame.x_high = std::max(frame.x_high, series.x.back());
  }
  std::vector<double> values;
  for (const auto& line : lines) {
    for (const Point& point : line) {
      if (!point.finite) continue;
      frame.y_low = std::min(frame.y_low, point.low);
      frame.y_high = std::max(frame.y_high, point.high);
      values.push_back(point.low);
      values.push_back(point.high);
    }
  }
  if (values.empty()) return false;
  frame.logarithmic = !spec.from_zero && wants_logarithm(std::move(values));
  if (spec.from_zero) frame.y_low = std::min(frame.y_low, 0.0);
  if (frame.x_high <= frame.x_low) {
    frame.x_low -= 1;
    frame.x_high += 1;
  }
  if (frame.logarithmic) {
    frame.y_low /= 1.2;
    frame.y_high *= 1.2;
    return true;
  }
  double pad = (frame.y_high - frame.y_low) * 0.06;
  if (pad <= std::abs(frame.y_high) * 1e-9) {
    pad = std::max(std::abs(frame.y_high) * 0.1, 1e-9);
  }
  frame.y_high += pad;
  if (!spec.from_zero || frame.y_low < 0) frame.y_low -= pad;
  return true;
}

std::vector<double> log_ticks(double low, double high) {
  const int first = static_cast<int>(std::floor(std::log10(low)));
  const int last = static_cast<int>(std::ceil(std::log10(high)));
  std::vector<double> ticks;
  const bool fine = last - first <= 3;
  const int stride = std::max(1, (last - first) / 6);
  for (int power = first; power <= last; power += stride) {
    for (const double lead : {1.0, 2.0, 5.0}) {
      const double tick = lead * std::pow(10.0, power);
      if ((lead == 1.0 || fine) && tick >= low && tick <= high) ticks.push_back(tick);
    }
  }
  return ticks;
}

std::string axes(const Frame& frame) {
  std::string svg;
  const std::vector<double> rows = frame.logarithmic ? log_ticks(frame.y_low, frame.y_high)
                                                     : axis_ticks(frame.y_low, frame.y_high, 5);
  for (const double tick : rows) {
    const double y = frame.y(tick);
    svg += format("<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", kLeft,
                  kWidth - kRight, y, y);
    svg += format("<text class=\"tick\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">", kLeft - 8,
                  y + 4) +
           readable_number(tick) + "</text>";
  }
  for (const double tick : axis_ticks(frame.x_low, frame.x_high, 6)) {
    if (tick != std::floor(tick)) continue;  // steps are whole
    const double x = frame.x(tick);
    svg += format("<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">", x,
                  kHeight - kBottom + 18) +
           readable_number(tick) + "</text>";
  }
  svg += format("<text class=\"tick\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">step</text>",
                kLeft - 8, kHeight - kBottom + 18);
  svg += format("<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", kLeft,
                kWidth - kRight, kHeight - kBottom, kHeight - kBottom);
  return svg;
}

// The points of each run without gaps.
std::vector<std::vector<Point>> unbroken(const std::vector<Point>& points) {
  std::vector<std::vector<Point>> runs(1);
  for (const Point& point : points) {
    if (point.finite) {
      runs.back().push_back(point);
    } else if (!runs.back().empty()) {
      runs.emplace_back();
    }
  }
  if (runs.back().empty()) runs.pop_back();
  return runs;
}

std::string draw_line(const Frame& frame, const std::vector<Point>& points, size_t number,
                      bool markers) {
  std::string svg = concat("<g class=\"s", number + 1, "\">");
  for (const std::vector<Point>& run : unbroken(points)) {
    std::string path, upper, lower;
    bool band = false;
    for (const Point& point : run) {
      const char* command = path.empty() ? "M" : "L";
      path += concat(command, format("%.1f %.1f", frame.x(point.x), frame.y(point.mean)));
      upper += concat(command, format("%.1f %.1f", frame.x(point.x), frame.y(point.high)));
      lower = format("L%.1f %.1f", frame.x(point.x), frame.y(point.low)) + lower;
      band = band || point.high > point.low;
      if (markers || run.size() == 1) {
        svg += format("<circle class=\"dot\" r=\"3\" cx=\"%.1f\" cy=\"%.1f\"/>", frame.x(point.x),
                      frame.y(point.mean));
      }
    }
    if (band) svg += concat("<path class=\"band\" d=\"", upper, lower, "Z\"/>");
    if (run.size() > 1) svg += concat("<path class=\"line\" d=\"", path, "\"/>");
  }
  return svg + "</g>";
}

// Invisible strips whose titles show the values under the pointer, without scripts.
std::string hovers(const Frame& frame, const ChartSpec& spec,
                   const std::vector<std::vector<Point>>& lines) {
  const std::vector<Point>& first = lines.front();
  const size_t count = std::min(first.size(), kMaxHovers);
  if (count == 0) return "";
  std::string svg;
  const double strip = (kWidth - kLeft - kRight) / static_cast<double>(count);
  for (size_t i = 0; i < count; ++i) {
    const Point& point = first[(2 * i + 1) * first.size() / (2 * count)];
    std::string title = concat("step ", std::llround(point.x));
    for (size_t s = 0; s < lines.size(); ++s) {
      const Point* near = nullptr;  // of sparse series only what was measured here
      for (const Point& other : lines[s]) {
        const bool close = std::abs(frame.x(other.x) - frame.x(point.x)) <= strip / 2 + 0.5;
        if (close && other.finite) near = &other;
      }
      if (near) title += concat("\n", spec.series[s].name, " ", readable_number(near->mean));
    }
    svg += format("<rect class=\"hover\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">",
                  frame.x(point.x) - strip / 2, kTop, strip, kHeight - kTop - kBottom) +
           concat("<title>", escape_html(title), "</title></rect>");
  }
  return svg;
}

}  // namespace

std::string readable_number(double value) {
  if (!std::isfinite(value)) return "n/a";
  const double size = std::abs(value);
  std::string text;
  if (size >= 1e15) {
    text = format("%.3g", value);
  } else if (size >= 1e12) {
    text = format("%.4gT", value / 1e12);
  } else if (size >= 1e9) {
    text = format("%.4gB", value / 1e9);
  } else if (size >= 1e6) {
    text = format("%.4gM", value / 1e6);
  } else if (size >= 1e4) {
    text = format("%.4gk", value / 1e3);
  } else if (size >= 1e-3 || size == 0) {
    text = format("%.4g", value);
  } else {  // "2.50e-04" -> "2.5e-4"
    text = format("%.2e", value);
    size_t e = text.find('e');
    if (text[e + 2] == '0') text.erase(e + 2, 1);
    while (text[e - 1] == '0' || text[e - 1] == '.') text.erase(--e, 1);
  }
  return text;
}

std::vector<double> axis_ticks(double low, double high, int wanted) {
  if (!(high > low) || !std::isfinite(high - low)) return {low};
  const double rough = (high - low) / wanted;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double lead : {5.0, 2.0, 1.0}) {
    if (lead * power >= rough * 0.75) step = lead * power;
  }
  std::vector<double> ticks;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) {
    const double tick = i * step;
    ticks.push_back(std::abs(tick) < step * 1e-6 ? 0.0 : tick);
  }
  return ticks;
}

std::string escape_html(const std::string& text) {
  std::string result;
  for (const char c : valid_utf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '&') {
      result += "&amp;";
    } else if (c == '<') {
      result += "&lt;";
    } else if (c == '>') {
      result += "&gt;";
    } else if (c == '"') {
      result += "&quot;";
    } else if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F) {
      result += "\xEF\xBF\xBD";  // the replacement character
    } else {
      result += c;
    }
  }
  return result;
}

std::string line_chart(const ChartSpec& spec) {
  std::vector<std::vector<Point>> lines;
  for (const ChartSeries& series : spec.series) lines.push_back(gather(series));
  Frame frame;
  if (!make_frame(spec, lines, frame)) return "";
  std::string svg =
      format("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", kWidth, kHeight) +
      escape_html(spec.title) + "\">";
  svg += axes(frame);
  for (size_t s = 0; s < lines.size(); ++s) {
    svg += draw_line(frame, lines[s], s, spec.series[s].markers);
  }
  svg += hovers(frame, spec, lines);
  svg += "</svg>";
  std::string legend;
  for (size_t s = 0; s < lines.size() && lines.size() > 1; ++s) {
    legend +=
        concat("<span class=\"s", s + 1, "\"><i></i>", escape_html(spec.series[s].name), "</span>");
  }
  const std::string note = frame.logarithmic ? "<span>logarithmic axis</span>" : "";
  return concat("<figure><figcaption><b>", escape_html(spec.title), "</b>", legend, note,
                "</figcaption>", svg, "</figure>\n");
}

}  // namespace orthant
