// SPDX-License-Identifier: Apache-2.0
#include "launch/cli.h"

int main(int argc, char** argv) { return orthant::run_cli(argc, argv); }
