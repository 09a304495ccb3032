// SPDX-License-Identifier: Apache-2.0
#include "launch/input_files.h"

#include "base/log.h"
#include "data/input_files.h"
#include "data/text_notes.h"
#include "trainer/run/progress.h"

namespace orthant {

std::vector<std::string> input_files(const std::string& command,
                                     const std::vector<std::string>& inputs,
                                     const std::string& format) {
  const InputFiles files = list_input_files(inputs, format);
  if (files.paths == inputs) return files.paths;
  log::info(command, ": ", counted(std::ssize(files.paths), "file"));
  if (files.num_skipped > 0) {
    std::string names;
    for (const std::string& path : files.skipped) names += concat(names.empty() ? "" : ", ", path);
    log::info(command, ": skipped ", counted(files.num_skipped, "other"), ": ", names,
              files.num_skipped > std::ssize(files.skipped) ? ", ..." : "");
  }
  return files.paths;
}

void bad_lines_option(Options& options, std::string& policy) {
  options.text(
      "--bad-lines", policy, one_of(bad_lines_names().all()),
      "whether a .jsonl line that cannot be used ends the work, or is left out and counted");
}

void special_option(Options& options, bool& special) {
  options.flag("--special", special,
               "what spells a special token in a text becomes it, where the tokenizer is a "
               "tokenizer.json; else it stays text");
}

}  // namespace orthant
