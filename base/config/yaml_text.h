// SPDX-License-Identifier: Apache-2.0
// What the YAML reader does with raw text, before and after yaml-cpp sees it.  Internal to
// base/config/.
#pragma once

#include <string>
#include <string_view>

#include "base/config/yaml_loader.h"

namespace orthant {

// Throws Error(kConfig) "place: message".
[[noreturn]] void refuse_yaml(const YamlPlace& place, const std::string& message);

// Everything that must hold before yaml-cpp sees a byte: size, UTF-8, no control bytes, brackets
// not piled up, no directives.  Messages count lines when `is_file`, and carry `origin` otherwise.
void check_yaml_text(std::string_view text, const YamlPlace& origin, bool is_file);

// yaml-cpp's complaint about line `line` (from 0) of `text`, in our words.
std::string explain_yaml_error(const std::string& message, std::string_view text, int line);

}  // namespace orthant
