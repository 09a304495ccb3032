// SPDX-License-Identifier: Apache-2.0
#include "parallel/pipeline/drawing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

#include "base/text.h"

namespace orthant::pipeline {
namespace {

template <class... Values>
std::string format(const char* pattern, Values... values) {
  std::array<char, 256> buffer;
  std::snprintf(buffer.data(), buffer.size(), pattern, values...);
  return buffer.data();
}

char letter_of(Act act) {
  return act == Act::kForward ? 'F' : act == Act::kBackwardWeight ? 'W' : 'B';
}

// A computation, in time since the first one of its timeline.
struct Bar {
  double start, end;
  int chunk, micro_batch;
  char letter;
};

std::vector<std::vector<Bar>> bars_of(const Timeline& timeline) {
  const int ranks = static_cast<int>(timeline.ranks.size());
  std::vector<std::vector<Bar>> bars(timeline.ranks.size());
  double first = std::numeric_limits<double>::infinity();
  for (size_t rank = 0; rank < bars.size(); ++rank) {
    for (const Span& span : timeline.ranks[rank]) {
      const auto [act, stage, micro_batch] = span.action;
      if (!is_compute(act)) continue;
      bars[rank].push_back({span.start, span.end, stage / ranks, micro_batch, letter_of(act)});
      first = std::min(first, span.start);
    }
  }
  for (auto& line : bars) {
    for (Bar& bar : line) {
      bar.start -= first;
      bar.end -= first;
    }
  }
  return bars;
}

double longest(const std::vector<NamedTimeline>& timelines) {
  double total = 0;
  for (const NamedTimeline& named : timelines) total = std::max(total, named.timeline.total());
  return total;
}

std::string caption(const NamedTimeline& named) {
  return format("%s: %.4g, bubble %.1f %%", named.name.c_str(), named.timeline.total(),
                100 * named.timeline.bubble_share());
}

// Columns of a bar.
struct Cell {
  int begin, end;
};
Cell cell_of(const Bar& bar, double scale) {
  return {static_cast<int>(std::lround(bar.start * scale)),
          static_cast<int>(std::lround(bar.end * scale))};
}

std::string label_of(const Bar& bar, bool numbered) {
  const int letter = bar.chunk == 0 ? bar.letter : bar.letter + ('a' - 'A');
  return std::string(1, static_cast<char>(letter)) +
         (numbered ? std::to_string(bar.micro_batch) : "");
}

using Bars = std::vector<std::vector<Bar>>;

// Columns for a unit of time: a whole number for the shortest computation where there is room.
double text_scale(const std::vector<Bars>& all, double total, int columns) {
  double shortest = total;
  for (const Bars& bars : all)
    for (const auto& line : bars)
      for (const Bar& bar : line)
        if (bar.end > bar.start) shortest = std::min(shortest, bar.end - bar.start);
  const double scale = columns / total;
  return scale * shortest >= 1 ? std::floor(scale * shortest) / shortest : scale;
}

bool labels_fit(const std::vector<Bars>& all, double scale) {
  for (const Bars& bars : all) {
    for (const auto& line : bars) {
      for (const Bar& bar : line) {
        const Cell cell = cell_of(bar, scale);
        if (cell.end > cell.begin &&
            static_cast<size_t>(cell.end - cell.begin) < label_of(bar, true).size())
          return false;
      }
    }
  }
  return true;
}

std::string text_line(const std::vector<Bar>& bars, double scale, int width, bool numbered) {
  std::string line(static_cast<size_t>(width), '.');
  for (const Bar& bar : bars) {
    const Cell cell = cell_of(bar, scale);
    const size_t size = static_cast<size_t>(cell.end - cell.begin);
    std::string label = label_of(bar, numbered);
    label.resize(size, '-');
    line.replace(static_cast<size_t>(cell.begin), size, label);
  }
  return line;
}

constexpr double kWidth = 960, kLeft = 58, kRight = 10, kRow = 22, kBar = 18, kCaption = 26;

std::string colour_of(const Bar& bar) {
  const int hue = bar.letter == 'F' ? 210 : bar.letter == 'B' ? 135 : 32;
  return format("hsl(%d,60%%,%d%%)", hue, std::max(45, 78 - 11 * bar.chunk));
}

std::string svg_bar(const Bar& bar, double scale, double y) {
  const double x = kLeft + bar.start * scale, width = (bar.end - bar.start) * scale;
  std::string svg = format(
      "<path d=\"M%.1f %.0fh%.1fv%.0fh%.1fz\" fill=\"%s\"><title>%c%d %.4g-%.4g</title></path>", x,
      y, std::max(0.5, width - 0.6), kBar, -std::max(0.5, width - 0.6), colour_of(bar).c_str(),
      bar.letter, bar.micro_batch, bar.start, bar.end);
  if (width >= 13)
    svg += format("<text x=\"%.1f\" y=\"%.0f\">%d</text>", x + width / 2, y + kBar - 5,
                  bar.micro_batch);
  return svg + "\n";
}

}  // namespace

std::string timeline_text(const std::vector<NamedTimeline>& timelines, int columns) {
  constexpr int kNames = 9;
  std::vector<Bars> all;
  for (const NamedTimeline& named : timelines) all.push_back(bars_of(named.timeline));
  const double total = longest(timelines);
  const double scale = text_scale(all, total, std::max(1, columns - kNames));
  const int width = static_cast<int>(std::lround(total * scale));
  const bool numbered = labels_fit(all, scale);
  std::string text;
  for (size_t i = 0; i < timelines.size(); ++i) {
    text += caption(timelines[i]) + "\n";
    for (size_t rank = 0; rank < all[i].size(); ++rank)
      text += format("rank %-4zu", rank) + text_line(all[i][rank], scale, width, numbered) + "\n";
  }
  return text;
}

std::string timeline_svg(const std::vector<NamedTimeline>& timelines) {
  double height = kCaption;
  for (const NamedTimeline& named : timelines)
    height += kCaption + kRow * static_cast<double>(named.timeline.ranks.size());
  const double scale = (kWidth - kLeft - kRight) / longest(timelines);
  std::string svg = format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
      "font-family=\"sans-serif\" font-size=\"11\">\n"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
      kWidth, height);
  double y = 0;
  for (const NamedTimeline& named : timelines) {
    svg += format("<text x=\"%.0f\" y=\"%.0f\" font-weight=\"bold\">", kLeft, y + kCaption - 8) +
           caption(named) + "</text>\n";
    y += kCaption;
    const Bars bars = bars_of(named.timeline);
    for (size_t rank = 0; rank < bars.size(); ++rank, y += kRow) {
      svg += format("<text x=\"8\" y=\"%.1f\">rank %zu</text>\n", y + kBar - 5, rank);
      svg += "<g text-anchor=\"middle\">\n";
      for (const Bar& bar : bars[rank]) svg += svg_bar(bar, scale, y);
      svg += "</g>\n";
    }
  }
  svg += format(
      "<text x=\"%.0f\" y=\"%.0f\">F forward (blue), B backward (green; by the input alone where a "
      "W follows), W by the weights (orange)</text>\n</svg>\n",
      kLeft, y + kCaption - 9);
  return svg;
}

}  // namespace orthant::pipeline
