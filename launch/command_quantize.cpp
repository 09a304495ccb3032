// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "base/text.h"
#include "launch/command.h"
#include "launch/process.h"
#include "trainer/hub/quantize.h"
#include "trainer/run/progress.h"

namespace orthant {
namespace {

struct Quantize {
  QuantizeOptions options;
  std::string format;
  std::vector<std::string> exclude;
};

int run(Quantize& command) {
  if (!is_first_process()) return 0;
  QuantizeOptions& options = command.options;
  options.quantization.format = quantization_names().at(command.format);
  for (const std::string& pattern : command.exclude)
    options.quantization.exclude_modules.push_back({pattern});
  const QuantizeResult result = quantize_model(options);
  std::printf(
      "%s: %s weights in %s, %.4g bits each; %s in all\n"
      "relative root mean square error %.3g, the worst %.3g of %s; orthant inspect checkpoint %s "
      "shows all\n",
      options.run_dir.c_str(), with_thousands(result.elements).c_str(), command.format.c_str(),
      static_cast<double>(result.bits) / static_cast<double>(result.elements),
      human_bytes(static_cast<double>(result.bytes)).c_str(), result.error, result.worst_error,
      result.worst.c_str(), options.run_dir.c_str());
  return 0;
}

}  // namespace

Command quantize_command() {
  return {.name = "quantize",
          .help = "a model becomes one whose linear maps are held in 4 or 8 bits",
          .footer =
              "orthant quantize runs/smollm2 runs/smollm2-nf4 --format nf4\n"
              "orthant quantize runs/smollm2 runs/smollm2-int8 --format int8 --exclude down_proj\n"
              "finetune (model.from), generate, evaluate, chat, embed, merge and export take it.",
          .declare = [](Options& o) {
            const auto c = std::make_shared<Quantize>();
            o.text("model", c->options.model, required_path(),
                   "a run directory, or one of its checkpoints, without adapters");
            o.text("run", c->options.run_dir, required_path(), "run directory to make");
            o.text("--format", c->format, one_of({"nf4", "int8"}),
                   "nf4: 4.127 bits a weight; int8: 8 bits, and a factor for each row");
            o.require("--format");
            o.texts("--exclude", c->exclude, Options::Each::kCommas,
                    "modules that stay as they are, as in quantization.exclude_modules; lm_head, "
                    "embed_tokens and routers always do");
            return [c] { return run(*c); };
          }};
}

}  // namespace orthant
