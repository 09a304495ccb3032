// SPDX-License-Identifier: Apache-2.0
// What can be said of a row of supervised data that is not used as it is.
#pragma once

#include <string>

#include "base/enum_names.h"

namespace orthant {

enum class RowReason {
  // Bad lines: an error, or left out (data.bad_lines).
  kNotJson,
  kUnknownFormat,
  kMalformed,
  kRoles,
  kEmptyTurn,
  kNoAssistant,
  kTemplate,
  kNotContinued,
  // Left out, whatever the policy.
  kNothingTrained,
  kTooLong,
  // Used all the same.
  kCut,
  kNoEnd,
};
inline constexpr size_t kNumRowReasons = 12;
const EnumNames<RowReason>& row_reason_names();  // "not JSON", "roles out of order", ...

inline bool is_bad_line(RowReason reason) { return reason <= RowReason::kNotContinued; }
inline bool is_left_out(RowReason reason) { return reason <= RowReason::kTooLong; }

// Thrown and caught while a line becomes examples (data/example_reader.cpp), where it may be one of
// millions that is counted and left out; never seen outside.
struct RowFault {
  RowReason reason;
  std::string text;  // what was wanted, what was found
};

}  // namespace orthant
