// SPDX-License-Identifier: Apache-2.0
// A script for bash, and for zsh in its bash mode, that completes commands, options, files and
// keys of a configuration.  Everything in it comes from the commands' own declarations and from the
// field list, so that a new command, option or key needs nothing here.
#pragma once

#include <string>
#include <vector>

#include "launch/command.h"

namespace orthant {

// keys: completed where a command declares a positional argument "overrides" (key.path=value).
std::string completion_script(const std::vector<Command>& commands, const FieldList& keys);

}  // namespace orthant
