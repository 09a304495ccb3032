// SPDX-License-Identifier: Apache-2.0
// The command line: parses it, runs the command, and turns errors into messages and exit codes
// (base/error.h).
#pragma once

namespace orthant {

int run_cli(int argc, char** argv);

}  // namespace orthant
