// SPDX-License-Identifier: Apache-2.0
// The characters that stand for bytes in byte-level vocabularies (Radford et al., "Language Models
// are Unsupervised Multitask Learners", 2019): printable Latin-1 stands for itself, the other bytes
// for U+0100 and on, in their order.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace orthant {

const std::string& byte_character(unsigned char byte);  // in UTF-8
// The bytes that a token stands for; none where it has another character.
std::optional<std::string> bytes_of_token(std::string_view token);

}  // namespace orthant
