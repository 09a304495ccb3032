// SPDX-License-Identifier: Apache-2.0
// The texts that a command line names.
#pragma once

#include <string>
#include <vector>

#include "launch/command.h"

namespace orthant {

// Folders and patterns as their files (data/input_files.h); says how many and what was skipped.
std::vector<std::string> input_files(const std::string& command,
                                     const std::vector<std::string>& inputs,
                                     const std::string& format);

// --bad-lines.
void bad_lines_option(Options& options, std::string& policy);
// --special.
void special_option(Options& options, bool& special);

}  // namespace orthant
