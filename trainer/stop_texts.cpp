// SPDX-License-Identifier: Apache-2.0
#include "trainer/stop_texts.h"

#include <algorithm>
#include <utility>

namespace orthant {

std::string StopTexts::add(std::string_view piece) {
  if (stopped_) return "";
  held_ += piece;
  size_t first = std::string::npos;
  for (const std::string& text : texts_) first = std::min(first, held_.find(text));
  if (first != std::string::npos) {
    stopped_ = true;
    held_.resize(first);
    return std::exchange(held_, "");
  }
  size_t keep = 0;  // bytes at the end with which a stop text may begin
  for (const std::string& text : texts_) {
    for (size_t n = std::min(held_.size(), text.size() - 1); n > keep; --n)
      if (held_.ends_with(std::string_view(text).substr(0, n))) keep = n;
  }
  const std::string given = held_.substr(0, held_.size() - keep);
  held_.erase(0, given.size());
  return given;
}

std::string StopTexts::finish() { return std::exchange(held_, ""); }

}  // namespace orthant
