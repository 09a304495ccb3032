// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdio>
#include <memory>

#include "launch/command.h"
#include "launch/process.h"
#include "trainer/evaluate.h"

namespace orthant {
namespace {

struct Evaluate {
  std::string model, precision, adapter;
  EvaluationOptions options;
};

void print(const EvaluationTotals& t) {
  if (t.documents > 0)
    std::printf("documents %lld, predicted tokens %lld, bytes %lld\n",
                static_cast<long long>(t.documents), static_cast<long long>(t.tokens),
                static_cast<long long>(t.bytes));
  if (t.tokens > 0) {
    std::printf("loss %.6f, perplexity %.4f", t.loss(), std::exp(t.loss()));
    if (t.bytes > 0) std::printf(", bits per byte %.6f", t.bits_per_byte());
    std::printf("\n");
  }
  if (t.questions > 0) {
    const auto percent = [&](double right) {
      return 100.0 * right / static_cast<double>(t.questions);
    };
    std::printf("questions %lld: right by log-likelihood %.2f%%, per byte %.2f%%\n",
                static_cast<long long>(t.questions), percent(t.right), percent(t.right_per_byte));
  }
}

int run(const Evaluate& command) {
  if (!is_first_process()) return 0;
  print(
      evaluate_file(load_saved_model("evaluate", command.model, command.precision, command.adapter),
                    command.options));
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
            o.text("--data", c->options.data, required_path(),
                   ".jsonl, also .gz or .zst; a line is {\"text\": ...}, {\"tokens\": [...]}, "
                   "{\"messages\": [...]} or {\"prompt\": ..., \"choices\": [...], \"answer\": "
                   "place or text}");
            o.require("--data");
            o.text("--log-probs", c->options.log_probs, any_path(),
                   "file to write each document's ids and log-probabilities into");
            o.text("--adapter", c->adapter, any_path(), kAdapterHelp);
            o.text("--precision", c->precision, one_of({"fp64", "fp32", "bf16"}),
                   "of the weights; that of the run by default");
            return [c] { return run(*c); };
          }};
}

}  // namespace orthant
