// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdio>
#include <memory>

#include "base/user_output.h"
#include "launch/command.h"
#include "launch/input_files.h"
#include "launch/process.h"
#include "trainer/evaluate.h"
#include "trainer/run/work_progress.h"

namespace orthant {
namespace {

struct Evaluate {
  std::string model, precision, adapter, bad_lines = bad_lines_names().of(BadLines::kFail);
  EvaluateOptions options;
};

std::string totals_text(const EvaluationTotals& t) {
  std::string text;
  const auto fixed = [](double value, int digits) {
    char digits_text[64];
    std::snprintf(digits_text, sizeof(digits_text), "%.*f", digits, value);
    return std::string(digits_text);
  };
  if (t.documents > 0)
    text += concat("documents ", t.documents, ", predicted tokens ", t.tokens, ", bytes ", t.bytes,
                   "\n");
  if (t.tokens > 0) {
    text += concat("loss ", fixed(t.loss(), 6), ", perplexity ", fixed(std::exp(t.loss()), 4));
    if (t.bytes > 0) text += concat(", bits per byte ", fixed(t.bits_per_byte(), 6));
    text += "\n";
  }
  if (t.questions > 0) {
    const auto percent = [&](double right) {
      return fixed(100.0 * right / static_cast<double>(t.questions), 2);
    };
    text += concat("questions ", t.questions, ": right by log-likelihood ", percent(t.right),
                   "%, per byte ", percent(t.right_per_byte), "%\n");
  }
  return text;
}

int run(Evaluate& command) {
  if (!is_first_process()) return 0;
  install_signal_handlers();
  command.options.documents.stop = &stop_requested;
  EvaluateOptions& options = command.options;
  DocumentOptions& documents = options.documents;
  documents.bad_lines = bad_lines_names().at(command.bad_lines);
  if (!options.log_probs.empty())
    check_output("evaluate: --log-probs", options.log_probs, {documents.data});
  WorkProgress progress({"evaluate", "line", count_lines(documents.data)});
  options.progress = [&](const EvaluationTotals& t, int64_t lines) {
    progress.at(lines, t.tokens);
  };
  const SavedModel model =
      load_saved_model("evaluate", command.model, command.precision, command.adapter);
  const std::string text = totals_text(evaluate_file(model, options));
  // Standard output has the one or the other.
  std::fputs(text.c_str(), options.log_probs == "-" ? stderr : stdout);
  return 0;
}

}  // namespace

Command evaluate_command() {
  return {.name = "evaluate",
          .help = "a model's loss on documents, and its choices among answers",
          .footer =
              "orthant evaluate runs/quickstart --data held-out.jsonl\n"
              "orthant evaluate runs/quickstart --data held-out.jsonl --log-probs out.jsonl",
          .declare = [](Options& o) {
            const auto c = std::make_shared<Evaluate>();
            o.text("model", c->model, required_text(),
                   "a run directory, or one of its checkpoints");
            o.text("--data", c->options.documents.data, required_path(),
                   ".jsonl, also .gz or .zst; a line is {\"text\": ...}, {\"tokens\": [...]}, "
                   "{\"messages\": [...]} or {\"prompt\": ..., \"choices\": [...], \"answer\": "
                   "place or text}");
            o.require("--data");
            o.text("--log-probs", c->options.log_probs, any_path(),
                   "file to write each document's ids and log-probabilities into, and each "
                   "question's log-likelihoods; - is standard output");
            bad_lines_option(o, c->bad_lines);
            special_option(o, c->options.documents.special);
            o.text("--adapter", c->adapter, any_path(), kAdapterHelp);
            o.text("--precision", c->precision, one_of({"fp64", "fp32", "bf16"}),
                   "of the weights; that of the run by default");
            return [c] { return run(*c); };
          }};
}

}  // namespace orthant
