// SPDX-License-Identifier: Apache-2.0
// The adapters of a run become a folder that PEFT loads over the base as transformers has it.
#pragma once

#include <string>

#include "model/hub/peft_tensors.h"
#include "trainer/hub/export.h"
#include "trainer/hub/peft_config.h"
#include "trainer/hub/stored_adapter.h"

namespace orthant {

// What a PEFT folder holds of adapters, before anything is written.
struct PeftFolder {
  PeftConfig config;
  std::vector<PeftTensor> tensors;  // of the adapters; several may share a source
};
// Error(kConfig) naming the key or module: what PEFT cannot hold, or holds otherwise.
PeftFolder plan_peft_folder(const StoredAdapter& adapter, const RunConfig& model);

// Writes configuration and weights into an empty folder, weights as they are, bit by bit; reads them
// again and compares before it returns the file's bytes.  Memory: the largest tensor.
int64_t write_peft_folder(const StoredAdapter& adapter, const RunConfig& model, const BaseNote& base,
                          const std::string& folder);

// manifest: a run's checkpoint with adapters.  With them goes what the run has of a tokenizer.
ExportResult export_adapter(const ExportOptions& options, const Manifest& manifest);

}  // namespace orthant
