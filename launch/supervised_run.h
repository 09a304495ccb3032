// SPDX-License-Identifier: Apache-2.0
// What finetune and distill do once their options are read.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launch/command.h"
#include "launch/run_file.h"

namespace orthant {

struct SupervisedRun {
  std::string config;  // "": no file
  std::vector<std::string> overrides;
  bool dry_run = false, quiet = false;
  // Error(kConfig): a configuration that is another command's.
  std::function<void(const FinetuneConfig& config)> check;
  // In place of training; empty: train.
  std::function<void(const FinetuneFile& file, const Group& world)> work = {};
};
// The exit code.
int run_supervised(const SupervisedRun& run);

// Of a command: the file, overrides, --dry-run and --quiet.
void declare_supervised(Options& options, SupervisedRun& run, const char* example,
                        const TextRule& file_rule);

}  // namespace orthant
