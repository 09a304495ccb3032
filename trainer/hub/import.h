// SPDX-License-Identifier: Apache-2.0
// A published model becomes a run directory, which every command takes as a model.
#pragma once

#include <cstdint>
#include <string>

namespace orthant {

struct ImportOptions {
  std::string folder;                      // with config.json and weights, or a GGUF file
  std::string run_dir;                     // made; must be empty or not there
  int64_t shard_bytes = int64_t{4} << 30;  // of a file of weights, at most where tensors allow
  // The layer for multi-token prediction becomes the model's, to be trained; else its tensors are
  // kept for an export.
  bool predicts_further = false;
};
struct ImportResult {
  int64_t tensors = 0, parameters = 0, bytes = 0;
  std::string checkpoint;  // its directory
};
// Writes config.yaml, the tokenizer and a checkpoint of step 0; what export needs of the folder is
// kept under hub/.  Memory: the largest tensor.  The directory appears complete or not at all
// (checkpoint/new_folder.h).  A weight that is no number is refused; a chat template that cannot be
// parsed is warned of.  Error(kMissingInput, kConfig, kData) of the folder (HubModel),
// Error(kCannotWrite) of the directory.  Not collective: one process.
ImportResult import_model(const ImportOptions& options);

// What tells the import that these options mean from others; it stands in the manifest's `extra`
// under kSourceKey.
std::string source_of(const ImportOptions& options);

}  // namespace orthant
