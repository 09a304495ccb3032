// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "base/log.h"
#include "launch/command.h"
#include "launch/process.h"
#include "trainer/embed.h"
#include "trainer/run/progress.h"

namespace orthant {
namespace {

struct Embed {
  std::string model, precision, adapter, pooling = "mean";
  EmbedOptions options;
};

int run(Embed& command) {
  if (!is_first_process()) return 0;
  command.options.pooling = pooling_names().at(command.pooling);
  const SavedModel model =
      load_saved_model("embed", command.model, command.precision, command.adapter);
  const EmbedTotals totals = embed_file(model, command.options);
  log::info("embed: ", command.options.output, ": ", counted(totals.documents, "vector"), " of ",
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
        o.text("--data", c->options.data, required_path(),
               ".jsonl, also .gz or .zst; a line is {\"text\": ...}, {\"tokens\": [...]} or "
               "{\"messages\": [...]}, with an \"id\" or not");
        o.require("--data");
        o.text("--output", c->options.output, required_path(),
               "the file to write: .jsonl, or .h5 (dataset embeddings, fp32)");
        o.require("--output");
        o.text("--pooling", c->pooling, one_of(pooling_names().all()),
               "the mean over all tokens, or the last or first one's state");
        o.flag("--normalize", c->options.normalize, "vectors of length 1");
        o.text("--adapter", c->adapter, any_path(), kAdapterHelp);
        o.text("--precision", c->precision, one_of({"fp64", "fp32", "bf16"}),
               "of the weights; that of the run by default");
        return [c] { return run(*c); };
      }};
}

}  // namespace orthant
