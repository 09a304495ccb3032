// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "base/log.h"
#include "base/user_output.h"
#include "launch/command.h"
#include "launch/input_files.h"
#include "launch/process.h"
#include "trainer/embed.h"
#include "trainer/run/progress.h"
#include "trainer/run/work_progress.h"

namespace orthant {
namespace {

struct Embed {
  std::string model, precision, adapter, pooling = "mean";
  std::string bad_lines = bad_lines_names().of(BadLines::kFail);
  EmbedOptions options;
};

int run(Embed& command) {
  if (!is_first_process()) return 0;
  install_signal_handlers();
  command.options.documents.stop = &stop_requested;
  EmbedOptions& options = command.options;
  DocumentOptions& documents = options.documents;
  options.pooling = pooling_names().at(command.pooling);
  documents.bad_lines = bad_lines_names().at(command.bad_lines);
  is_hdf5_output(options.output);  // or it is refused
  check_output("embed: --output", options.output, {documents.data});
  WorkProgress progress({"embed", "line", count_lines(documents.data)});
  options.progress = [&](const EmbedTotals& t, int64_t lines) { progress.at(lines, t.tokens); };
  const SavedModel model =
      load_saved_model("embed", command.model, command.precision, command.adapter);
  const EmbedTotals totals = embed_file(model, options);
  log::info("embed: ", options.output, ": ", counted(totals.documents, "vector"), " of ",
            model.config.model.hidden_size, " numbers, ", with_thousands(totals.tokens), " tokens");
  return 0;
}

}  // namespace

Command embed_command() {
  return {
      .name = "embed",
      .help = "a vector for each document: a model's hidden states behind the final norm",
      .footer =
          "orthant embed runs/quickstart --data docs.jsonl --output docs.h5\n"
          "orthant embed runs/quickstart --data docs.jsonl --output docs.out.jsonl "
          "--pooling last --normalize\n"
          "Documents past the model's longest sequence are read in windows that overlap by half,\n"
          "as orthant evaluate reads them.",
      .declare = [](Options& o) {
        const auto c = std::make_shared<Embed>();
        o.text("model", c->model, required_text(), "a run directory, or one of its checkpoints");
        o.text("--data", c->options.documents.data, required_path(),
               ".jsonl, also .gz or .zst; a line is {\"text\": ...}, {\"tokens\": [...]} or "
               "{\"messages\": [...]}, with an \"id\" or not");
        o.require("--data");
        o.text(
            "--output", c->options.output, required_path(),
            "the file to write: .jsonl, or .h5 (dataset embeddings, fp32); - is standard output");
        o.require("--output");
        o.text("--pooling", c->pooling, one_of(pooling_names().all()),
               "the mean over all tokens, or the last or first one's state");
        bad_lines_option(o, c->bad_lines);
        special_option(o, c->options.documents.special);
        o.flag("--normalize", c->options.normalize, "vectors of length 1");
        o.text("--adapter", c->adapter, any_path(), kAdapterHelp);
        o.text("--precision", c->precision, one_of({"fp64", "fp32", "bf16"}),
               "of the weights; that of the run by default");
        return [c] { return run(*c); };
      }};
}

}  // namespace orthant
