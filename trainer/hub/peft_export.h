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

// manifest: a run's checkpoint with adapters.  Weights as they are in the checkpoint, bit by bit; what
// was written is read again and compared before this returns.  Memory: the largest tensor.
ExportResult export_adapter(const ExportOptions& options, const Manifest& manifest);

}  // namespace orthant
