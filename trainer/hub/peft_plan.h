// SPDX-License-Identifier: Apache-2.0
// What a PEFT folder holds of adapters, before anything is written.  Touches no files.
#pragma once

#include <vector>

#include "model/hub/peft_tensors.h"
#include "trainer/hub/peft_config.h"
#include "trainer/hub/stored_adapter.h"

namespace orthant {

struct PeftFolder {
  PeftConfig config;
  std::vector<PeftTensor> tensors;  // of the adapters; several may share a source
};
// Error(kConfig) naming the key or module: what PEFT cannot hold, or computes otherwise.
PeftFolder plan_peft_folder(const StoredAdapter& adapter, const RunConfig& model);

}  // namespace orthant
