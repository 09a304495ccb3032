// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "checkpoint/reader.h"
#include "launch/command.h"
#include "trainer/quantized_weights.h"
#include "trainer/saved_model.h"

namespace orthant {
namespace {

int run(const std::string& path) {
  const std::string directory = find_checkpoint("inspect checkpoint", path);
  const CheckpointReport report = verify_checkpoint(directory);
  std::fputs(report.text.c_str(), stdout);
  if (report.ok) std::fputs(quantization_text(read_manifest(directory)).c_str(), stdout);
  return report.ok ? 0 : static_cast<int>(ErrorKind::kData);
}

}  // namespace

Command inspect_checkpoint_command() {
  return {.name = "inspect checkpoint",
          .help = "content and checksums of a checkpoint, and how far quantised weights are off",
          .footer = "orthant inspect checkpoint runs/quickstart",
          .declare = [](Options& o) {
            const auto path = std::make_shared<std::string>();
            o.text("path", *path, required_text(),
                   "a checkpoint, such as runs/quickstart/checkpoints/step-00000100, or a run "
                   "directory, for its newest valid one");
            return [path] { return run(*path); };
          }};
}

}  // namespace orthant
