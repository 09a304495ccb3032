// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <filesystem>
#include <memory>

#include "base/log.h"
#include "data/prepare.h"
#include "launch/command.h"
#include "launch/input_files.h"
#include "trainer/run/progress.h"

namespace orthant {
namespace {

struct Prepare {
  std::vector<std::string> inputs, validation;
  std::string output, tokenizer = "byte", format = "auto", bad_lines = "fail";
  double validation_fraction = 0.05;
  bool redact = false, quiet = false;
};

int run(const Prepare& command) {
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
               .bad_lines = bad_lines_names().at(command.bad_lines),
               .redact = command.redact,
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
  if (command.redact) {
    const auto count = [&](PersonalData kind, const char* one, const char* many) {
      const int64_t n = report.redactions.of[static_cast<size_t>(kind)];
      return concat(with_thousands(n), n == 1 ? one : many);
    };
    log::info("  redacted    ",
              count(PersonalData::kEmail, " e-mail address, ", " e-mail addresses, "),
              count(PersonalData::kPhone, " phone number, ", " phone numbers, "),
              count(PersonalData::kCard, " card number", " card numbers"));
  }
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

}  // namespace

Command prepare_command() {
  return {.name = "prepare",
          .help = "turn text into a training corpus (.h5)",
          .footer =
              "orthant prepare book.txt -o book.h5\n"
              "orthant prepare shard-*.jsonl.gz -o web.h5 --tokenizer web.model\n"
              "The corpus then stands in data.train of a run; docs/formats.md.",
          .declare = [](Options& o) {
            const auto c = std::make_shared<Prepare>();
            o.texts("inputs", c->inputs, required_text(),
                    ".txt (one document each) or .jsonl ({\"text\": ...} a line), either also .gz "
                    "or .zst; folders of them, or quoted patterns such as 'books/**/*.txt'");
            o.text("-o,--output", c->output, required_text(), "the corpus to write");
            o.text("--tokenizer", c->tokenizer, any_text(),
                   "byte, a SentencePiece file (.model), a tokenizer.json, or a folder with one");
            o.real("--validation-fraction", c->validation_fraction, below_one(),
                   "share of the text kept for validation");
            o.texts("--validation", c->validation, any_text(),
                    "text to validate on, instead of a fraction");
            o.text("--format", c->format, any_text(), "auto, text or jsonl");
            bad_lines_option(o, c->bad_lines);
            o.flag("--redact", c->redact,
                   "e-mail addresses, phone and payment-card numbers become <EMAIL>, <PHONE>, "
                   "<CARD>");
            o.flag("--quiet", c->quiet, "only warnings and errors");
            return [c] { return run(*c); };
          }};
}

}  // namespace orthant
