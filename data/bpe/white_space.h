// SPDX-License-Identifier: Apache-2.0
// Unicode's White_Space characters in UTF-8 text.
#pragma once

#include <cstddef>
#include <string_view>

namespace orthant {

// Bytes of white space that the text begins or ends with.
size_t leading_white_space(std::string_view text);
size_t trailing_white_space(std::string_view text);

}  // namespace orthant
