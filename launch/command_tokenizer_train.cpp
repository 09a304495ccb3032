// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <filesystem>
#include <memory>

#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "data/tokenizer_training.h"
#include "launch/command.h"
#include "launch/input_files.h"
#include "trainer/run/progress.h"
#include "trainer/run/run_dir.h"

namespace orthant {
namespace {

struct Training {
  std::vector<std::string> inputs;
  std::string output, model = "unigram", format = "auto", bad_lines = "fail";
  int64_t vocab_size = 0, sample_bytes = int64_t{64} << 20;
  double character_coverage = 0.9995;
  bool byte_fallback = true, split_digits = false, library_log = false, quiet = false;
};

int run(const Training& command) {
  log::set_quiet(command.quiet);
  ORTHANT_CHECK(command.output.ends_with(".model"), kUsage,
                "tokenizer train: --output: want a path "
                "that ends in .model, got '",
                command.output, "'");
  const std::string folder = folder_of(command.output);
  make_folders(folder, command.output);
  check_writable(folder);
  const TrainedTokenizer trained = train_tokenizer(
      {.inputs = input_files("tokenizer train", command.inputs, command.format),
       .format = command.format,
       .bad_lines = bad_lines_names().at(command.bad_lines),
       .vocab_size = command.vocab_size,
       .model = command.model,
       .character_coverage = command.character_coverage,
       .byte_fallback = command.byte_fallback,
       .split_digits = command.split_digits,
       .sample_bytes = command.sample_bytes,
       .library_log = command.library_log,
       .progress = [](const std::string& what) { log::info("tokenizer train: ", what); }});
  const bool replaces = std::filesystem::exists(command.output);
  replace_file(command.output, trained.file);
  log::info(command.output, replaces ? " (replaces an older file): " : ": ", command.model, ", ",
            with_thousands(command.vocab_size), " ids, ",
            std::round(trained.bytes_per_token * 100) / 100, " bytes of text a token, ",
            with_thousands(static_cast<int64_t>(trained.file.size())), " bytes, in ",
            std::round(trained.seconds * 10) / 10, " s");
  log::info("  ", trained.name);
  for (const std::string& line : trained.notes.lines()) log::warn("tokenizer train: ", line);
  return 0;
}

}  // namespace

Command tokenizer_train_command() {
  return {
      .name = "tokenizer train",
      .help = "learn a vocabulary from text; the same text gives the same file",
      .footer = "orthant tokenizer train book.txt --vocab-size 4096 -o book.model",
      .declare = [](Options& o) {
        const auto c = std::make_shared<Training>();
        o.texts("inputs", c->inputs, required_text(),
                ".txt or .jsonl, either also .gz or .zst; folders of them, or quoted patterns");
        o.integer("--vocab-size", c->vocab_size, at_least(1),
                  "number of ids, special ones and bytes included");
        o.require("--vocab-size");
        o.text("-o,--output", c->output, required_text(), "the file to write; ends in .model");
        o.text("--model", c->model, one_of({"unigram", "bpe"}), "kind of tokenizer");
        o.real("--character-coverage", c->character_coverage, RealBounds{.low = 0.9, .high = 1.0},
               "share of the text's characters that get pieces of their own");
        o.flag("--byte-fallback", c->byte_fallback,
               "spell other characters in bytes, so that all text comes back exactly (default)");
        o.flag("--no-byte-fallback", c->byte_fallback, "other characters become the unknown id",
               false);
        o.flag("--split-digits", c->split_digits, "every digit is a piece of its own");
        o.integer("--sample-bytes", c->sample_bytes, between(1, int64_t{1} << 40),
                  "about how much text to learn from; lines are drawn where there is more");
        o.text("--format", c->format, any_text(), "auto, text or jsonl");
        bad_lines_option(o, c->bad_lines);
        o.flag("--library-log", c->library_log, "show the library's own messages");
        o.flag("--quiet", c->quiet, "only warnings and errors");
        return [c] { return run(*c); };
      }};
}

}  // namespace orthant
