// SPDX-License-Identifier: Apache-2.0
// The adapters of a run become a folder that PEFT loads over the base as transformers has it.
#pragma once

#include <string>

#include "trainer/hub/export.h"
#include "trainer/hub/peft_config.h"
#include "trainer/hub/stored_adapter.h"

namespace orthant {

// Writes configuration and weights into an empty folder, weights as they are, bit by bit; reads
// them again and compares before it returns the file's bytes.  Memory: the largest tensor.
// Error(kConfig) as of plan_peft_folder, Error(kCannotWrite).
int64_t write_peft_folder(const StoredAdapter& adapter, const RunConfig& model,
                          const BaseNote& base, const std::string& folder);

// manifest: a run's checkpoint with adapters.  With them goes what the run has of a tokenizer.
ExportResult export_adapter(const ExportOptions& options, const Manifest& manifest);

}  // namespace orthant
