// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "launch/command.h"
#include "launch/process.h"
#include "trainer/hub/merge.h"

namespace orthant {
namespace {

// The adapters were trained beside quantised weights: what the merged model's are, and how far the
// other choice would be off.
void print_bases(const MergeOptions& options, const MergeResult& result) {
  const char* run = options.run_dir.c_str();
  if (!result.dequantised) {
    std::printf(
        "%s: the base is the model that the adapters' was quantised from: the difference is that "
        "of its quantisation; without --into it would be of rounding alone\n",
        run);
    return;
  }
  std::printf("%s: the base is quantised: what its weights stand for was merged into\n", run);
  if (result.original_difference) {
    std::printf(
        "with the model that it was quantised from, %s, for the base (--into original), "
        "logits would differ by at most %.3g\n",
        result.original.c_str(), *result.original_difference);
  } else {
    std::printf(
        "how far logits would differ with the model that it was quantised from, %s, is not "
        "known: it is not there any more, or has other weights\n",
        result.original.c_str());
  }
}

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
  if (!result.original.empty()) print_bases(options, result);
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
            o.text("--into", options->into, any_path(),
                   "where the base is quantised: merge into the model that it was made of, where "
                   "that was then (original), or is now (a path); by default into what its weights "
                   "stand for, beside which the adapters were trained");
            return [options] { return run(*options); };
          }};
}

}  // namespace orthant
