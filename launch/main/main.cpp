// SPDX-License-Identifier: Apache-2.0
#include "launch/cli.h"
#include "launch/process.h"

int main(int argc, char** argv) {
  orthant::open_standard_files();
  return orthant::close_stdout(orthant::run_cli(argc, argv));
}
