// SPDX-License-Identifier: Apache-2.0
// One line of a .jsonl file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace orthant {

inline constexpr int64_t kMaxLineBytes = int64_t{16} << 20;
inline constexpr int kMaxJsonDepth = 64;

// The value of the member "text" of the object that `line` is.  Error(kData) "where: ..." for bad
// JSON or UTF-8, anything but an object, a missing, repeated or non-string "text", and nesting
// deeper than 64.  `where` is "FILE:LINE".
std::string json_text(std::string_view line, const std::string& where);

}  // namespace orthant
