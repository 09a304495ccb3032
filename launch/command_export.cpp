// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "base/text.h"
#include "launch/command.h"
#include "launch/process.h"
#include "trainer/hub/export.h"

namespace orthant {
namespace {

int run(const ExportOptions& options) {
  if (!is_first_process()) return 0;
  const ExportResult result = export_model(options);
  std::printf("%s: %s, %lld tensors, %s; opened again and compared\n", options.folder.c_str(),
              result.family.c_str(), static_cast<long long>(result.tensors),
              human_bytes(static_cast<double>(result.bytes)).c_str());
  if (result.dequantised > 0)
    std::printf("%s: %lld tensors were quantised: what they stand for was written\n",
                options.folder.c_str(), static_cast<long long>(result.dequantised));
  if (!result.has_tokenizer)
    std::printf("%s: has no tokenizer file, as the model reads bytes\n", options.folder.c_str());
  return 0;
}

}  // namespace

Command export_command() {
  return {.name = "export",
          .help = "a run's model becomes a folder that transformers opens",
          .footer = "orthant export runs/mixtral ~/models/mine",
          .declare = [](Options& o) {
            const auto options = std::make_shared<ExportOptions>();
            o.text("model", options->model, required_path(),
                   "a run directory, or one of its checkpoints");
            o.text("folder", options->folder, required_path(), "to make; must not hold anything");
            return [options] { return run(*options); };
          }};
}

}  // namespace orthant
