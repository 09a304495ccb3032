// SPDX-License-Identifier: Apache-2.0
#include "data/jinja/source.h"

#include <algorithm>

#include "base/error.h"
#include "data/jinja/limits.h"
#include "data/jinja/unicode.h"

namespace orthant::jinja {

Source::Source(std::string_view text, std::string label) : label_(std::move(label)) {
  ORTHANT_CHECK(text.size() <= kMaxTemplateBytes, kData, label_, ": a chat template of ",
                human_bytes(static_cast<double>(text.size())), "; want at most ",
                human_bytes(static_cast<double>(kMaxTemplateBytes)));
  ORTHANT_CHECK(whole_text_is_utf8(text), kData, label_, ": the chat template is not UTF-8");
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      text_.push_back('\n');
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      text_.push_back(text[i]);
    }
  }
  if (text_.ends_with('\n')) text_.pop_back();
}

Place Source::place_at(size_t byte) const {
  const std::string_view before(text_.data(), byte);
  const size_t line_end = before.rfind('\n');
  const size_t begin = line_end == std::string_view::npos ? 0 : line_end + 1;
  return {1 + static_cast<int>(std::count(before.begin(), before.end(), '\n')),
          1 + static_cast<int>(num_code_points(before.substr(begin)))};
}

std::string_view Source::line(int number) const {
  std::string_view rest = text_;
  for (int i = 1; i < number; ++i) rest.remove_prefix(rest.find('\n') + 1);
  return rest.substr(0, rest.find('\n'));
}

std::string Source::where(Place place) const { return concat(label_, ":", place.line); }

void Source::fail(Place place, const std::string& message) const {
  // Templates in one line of thousands of characters are common: what surrounds the place is shown.
  constexpr int kBefore = 40, kShown = 100;
  std::u32string shown = code_points(line(place.line));
  const int from = std::max(0, place.column - 1 - kBefore);
  const bool is_cut = static_cast<int>(shown.size()) > from + kShown;
  shown = shown.substr(static_cast<size_t>(from), kShown);
  throw Error(ErrorKind::kData,
              concat(label_, ":", place.line, ":", place.column, ": ", message, "\n  ",
                     from > 0 ? "..." : "", utf8(shown), is_cut ? "..." : ""));
}

}  // namespace orthant::jinja
