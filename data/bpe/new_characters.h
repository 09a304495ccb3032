// SPDX-License-Identifier: Apache-2.0
// Characters of Unicode 15 to 17, which PCRE2 of Debian 12 (Unicode 14) does not know.
#pragma once

#include <string>
#include <string_view>

namespace orthant {

// Those of a general category ("Lu"), or of all that begin with it ("L"), as ranges in a class of
// PCRE2's; empty where there are none.
std::string new_characters(std::string_view category);

// Whether valid UTF-8 has one of them.
bool has_new_characters(std::string_view text);

}  // namespace orthant
