// SPDX-License-Identifier: Apache-2.0
// The text of a template with its name, for messages that say where.
#pragma once

#include <string>
#include <string_view>

namespace orthant::jinja {

struct Place {
  int line = 1, column = 1;  // from 1; columns are code points
};

class Source {
 public:
  // Line ends become "\n" and one at the end is dropped, as Jinja does.  `label` is the file, or
  // what the text is.  Error(kData) on text that is not UTF-8 or is longer than kMaxTemplateBytes.
  Source(std::string_view text, std::string label);
  const std::string& text() const { return text_; }
  const std::string& label() const { return label_; }
  Place place_at(size_t byte) const;
  // Error(kData): "label:line:column: message" and the line under it.
  [[noreturn]] void fail(Place place, const std::string& message) const;
  // "label:line"
  std::string where(Place place) const;

 private:
  std::string_view line(int number) const;
  std::string text_, label_;
};

}  // namespace orthant::jinja
