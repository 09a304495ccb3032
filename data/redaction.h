// SPDX-License-Identifier: Apache-2.0
// Text with markers in place of personal data (data/personal_data.h).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "data/personal_data.h"

namespace orthant {

struct RedactionCounts {
  std::array<int64_t, kNumPersonalData> of = {};

  int64_t total() const { return of[0] + of[1] + of[2]; }
  void add(const RedactionCounts& more) {
    for (size_t kind = 0; kind < of.size(); ++kind) of[kind] += more.of[kind];
  }
  bool operator==(const RedactionCounts&) const = default;
};

// A text that comes in pieces: what it becomes does not depend on where they end.
class Redaction {
 public:
  // What can be said of the text by now, valid until the next call; `ends`: the piece is the last
  // one of its text.  Some hundred bytes are held back, but at the end and at a line's end none.
  std::string_view add(std::string_view piece, bool ends);
  const RedactionCounts& counts() const { return counts_; }

 private:
  std::string text_;      // what is not settled, and before it what that may depend on
  size_t settled_ = 0;    // of it
  size_t looked_at_ = 0;  // of it: anchors before are done with
  std::string out_;
  RedactionCounts counts_;
};

// A whole text.
std::string redacted(std::string_view text, RedactionCounts& counts);

}  // namespace orthant
