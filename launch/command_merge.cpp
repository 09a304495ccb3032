// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "launch/command.h"
#include "launch/process.h"
#include "trainer/hub/merge.h"

namespace orthant {
namespace {

int run(const MergeOptions& options) {
  if (!is_first_process()) return 0;
  const MergeResult result = merge_model(options);
  const auto count = [](int64_t n) { return static_cast<long long>(n); };
  std::printf("%s: merged into %s, whose weights have the fingerprint %s\n",
              options.run_dir.c_str(), result.base.c_str(), result.base_fingerprint.c_str());
  if (result.was_untied)
    std::printf("%s: head and embedding, which were one weight, are two\n",
                options.run_dir.c_str());
  std::printf(
      "%lld tensors: %lld merged, %lld replaced; logits on drawn tokens differ by at most "
      "%.3g, the largest is %.3g\n",
      count(result.tensors), count(result.merged), count(result.replaced), result.difference,
      result.largest);
  return 0;
}

}  // namespace

Command merge_command() {
  return {.name = "merge",
          .help = "a model and the adapters beside it become one model",
          .footer =
              "orthant merge runs/tuned runs/whole\n"
              "orthant merge runs/mixtral runs/whole --adapter ~/adapters/mine",
          .declare = [](Options& o) {
            const auto options = std::make_shared<MergeOptions>();
            o.text("model", options->model, required_path(),
                   "a run directory, or one of its checkpoints");
            o.text("run", options->run_dir, required_path(), "run directory to make");
            o.text("--adapter", options->adapter, any_path(),
                   "a folder as PEFT saves one, or a run directory that trained adapters; those "
                   "that the model trained itself by default");
            return [options] { return run(*options); };
          }};
}

}  // namespace orthant
