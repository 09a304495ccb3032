// SPDX-License-Identifier: Apache-2.0
// One line of a .jsonl file.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace orthant {

inline constexpr int kMaxJsonDepth = 64;

// What can be wrong with a line.
enum class LineFaultKind {
  kNotJson,
  kNotUtf8,
  kLoneSurrogate,
  kNoObject,
  kNoText,
  kTextNoString,
  kTextTwice,
  kTooDeep,
  kTooLong,
};
inline constexpr size_t kNumLineFaultKinds = 9;
const char* line_fault_name(LineFaultKind kind);  // for a count: "not JSON", "too long"

struct LineFault {
  LineFaultKind kind;
  std::string reason;  // with what was found; plain ASCII
};

// Sets `text` to the value of the member "text" of the object that `line` is.  A fault: bad JSON or
// UTF-8, half of a surrogate pair, anything but an object, a missing, repeated or non-string
// "text", and nesting deeper than 64.
std::optional<LineFault> json_text(std::string_view line, std::string& text);

}  // namespace orthant
