// SPDX-License-Identifier: Apache-2.0
#include "data/redaction.h"

#include <algorithm>

namespace orthant {

std::string_view Redaction::add(std::string_view piece, bool ends) {
  text_ += piece;
  const bool whole = ends || text_.ends_with('\n');
  const size_t until =
      whole ? text_.size() : text_.size() - std::min(text_.size(), kPersonalBehind);
  out_.clear();
  while (const auto match =
             find_personal_data(text_, std::min(looked_at_, until), until, settled_)) {
    out_.append(text_, settled_, match->begin - settled_);
    out_ += marker_of(match->kind);
    ++counts_.of[static_cast<size_t>(match->kind)];
    settled_ = looked_at_ = match->end;
  }
  looked_at_ = std::max(looked_at_, until);
  // An anchor further on may have what is before it in its match.
  const size_t end = whole ? until : std::max(settled_, until - std::min(until, kPersonalBefore));
  out_.append(text_, settled_, end - settled_);
  const size_t gone = ends ? text_.size() : end - std::min(end, kPersonalBefore);
  text_.erase(0, gone);
  settled_ = ends ? 0 : end - gone;
  looked_at_ = ends ? 0 : looked_at_ - gone;
  return out_;
}

std::string redacted(std::string_view text, RedactionCounts& counts) {
  Redaction redaction;
  std::string result(redaction.add(text, true));
  counts.add(redaction.counts());
  return result;
}

}  // namespace orthant
