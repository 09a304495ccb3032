// SPDX-License-Identifier: Apache-2.0
// What filters and str's methods share.  Positions and counts are code points.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/jinja/value.h"

namespace orthant::jinja {

class Render;

enum class Side { kBoth, kLeft, kRight };
// str.strip, lstrip, rstrip: of `chars`, or of white space.
std::string_view strip(std::string_view text, std::optional<std::string_view> chars, Side side);
// str.replace; count < 0: all.
std::string replace(Render& render, std::string_view text, std::string_view old,
                    std::string_view by, int64_t count);
// str.splitlines
std::vector<std::string_view> split_lines(std::string_view text, bool keeps_ends);

enum class Case { kUpper, kLower, kTitle, kCapitalize };
// Error(kData) where a letter's mapping is not built (unicode.h).
std::string with_case(Render& render, std::string_view text, Case which);

}  // namespace orthant::jinja
