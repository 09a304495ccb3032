// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "base/text.h"
#include "launch/command.h"
#include "launch/process.h"
#include "trainer/hub/import.h"

namespace orthant {
namespace {

int run(const ImportOptions& options) {
  if (!is_first_process()) return 0;
  const ImportResult result = import_model(options);
  std::printf("%s: %lld tensors, %lld parameters, %s\n", result.checkpoint.c_str(),
              static_cast<long long>(result.tensors), static_cast<long long>(result.parameters),
              human_bytes(static_cast<double>(result.bytes)).c_str());
  return 0;
}

}  // namespace

Command import_command() {
  return {.name = "import",
          .help = "a published model's folder, or a GGUF file, becomes a run directory",
          .footer =
              "orthant import ~/models/Mixtral-8x7B-v0.1 runs/mixtral\n"
              "orthant generate runs/mixtral --prompt 'The day'\n"
              "orthant import SmolLM2-135M-Instruct.Q4_1.gguf runs/smollm2",
          .declare = [](Options& o) {
            const auto options = std::make_shared<ImportOptions>();
            o.text(
                "folder", options->folder, required_path(),
                "with config.json, weights as safetensors, and the tokenizer; or a GGUF file, or "
                "a folder with one");
            o.text("run", options->run_dir, required_path(),
                   "run directory to make; generate, evaluate and export take it as a model");
            return [options] { return run(*options); };
          }};
}

}  // namespace orthant
