// SPDX-License-Identifier: Apache-2.0
// A run's model becomes a folder that transformers opens; adapters become one that PEFT loads
// (trainer/hub/peft_export.h).
#pragma once

#include <cstdint>
#include <string>

namespace orthant {

struct ExportOptions {
  std::string model;   // a run directory, or one of its checkpoints
  std::string folder;  // made; must be empty or not there; appears complete or not at all
  int64_t shard_bytes = int64_t{5} * 1000 * 1000 * 1000;
};
struct ExportResult {
  int64_t tensors = 0, bytes = 0, files = 0;
  std::string family;
  bool has_tokenizer = false;  // a file of it; bytes have none
  int64_t dequantised = 0;     // tensors that the run holds in few bits
};
// Weights are written in the run's precision, quantised ones too; those of an imported model that
// was not trained since as they came.  Says that it is done when it has opened the folder again as
// an import does, and every tensor's bytes are those that were meant.  Memory: a gigabyte, or the
// largest tensor.  Error(kConfig): a model that no family of transformers computes.  Not
// collective: one process.
ExportResult export_model(const ExportOptions& options);

}  // namespace orthant
