// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <filesystem>

#include "base/log.h"
#include "data/prepare.h"
#include "launch/commands.h"
#include "launch/input_files.h"
#include "trainer/progress.h"

namespace orthant {

int run_prepare(const PrepareCommand& command) {
  log::set_quiet(command.quiet);
  const auto files = [&](const std::vector<std::string>& inputs) {
    return input_files("prepare", inputs, command.format);
  };
  const bool replaces = std::filesystem::exists(command.output);
  double next = 0.1;
  const PrepareReport report =
      prepare({.inputs = files(command.inputs),
               .validation_inputs = files(command.validation),
               .output = command.output,
               .tokenizer = command.tokenizer,
               .validation_fraction = command.validation_fraction,
               .format = command.format,
               .bad_lines = bad_lines_of(command.bad_lines),
               .progress = [&](double fraction, double rate) {
                 if (fraction < next) return;
                 while (next <= fraction) next += 0.1;
                 log::info("prepare: ", prepare_progress_text(fraction, rate));
               }});
  const auto split = [](const char* name, const SplitInfo& info) {
    log::info("  ", name, with_thousands(info.num_tokens), " tokens, ",
              with_thousands(info.num_bytes), " bytes, ", counted(info.num_documents, "document"));
  };
  log::info(command.output, replaces ? " (replaces an older file): " : ": ",
            counted(report.num_documents, "document"), " in ", std::round(report.seconds * 10) / 10,
            " s");
  split("train       ", report.train);
  split("validation  ", report.validation);
  for (const std::string& line : report.notes.lines()) log::warn("prepare: ", line);
  if (report.num_unknown_tokens > 0) {
    log::warn("prepare: ", with_thousands(report.num_unknown_tokens),
              " tokens are unknown to the tokenizer, and their text is lost; orthant tokenizer "
              "train makes tokenizers with byte fallback");
  }
  if (!report.gives_text_back) {
    log::warn(
        "prepare: the tokenizer does not give the text back as it was (it normalises, or "
        "knows not all of it); bits per byte will count the bytes that come back");
  }
  log::info("  unigram entropy ", std::round(report.unigram_entropy_bits * 1e4) / 1e4,
            " bits per token, vocabulary ", report.vocab_size);
  return 0;
}

}  // namespace orthant
