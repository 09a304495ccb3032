// SPDX-License-Identifier: Apache-2.0
// config.json of a published model, in and out.
#pragma once

#include <optional>
#include <string>

#include "trainer/run_config.h"

namespace orthant {

// How weights that are kept in FP8 become wider: each block of [rows, cols] has a factor, in the
// tensor NAME_scale_inv.
struct Fp8Blocks {
  int64_t rows = 0, cols = 0;
};

struct HubConfig {
  std::string text;  // of the file
  RunConfig config;  // its model is resolved
  std::optional<Fp8Blocks> fp8;
  int64_t extra_layers = 0;  // behind the last, for multi-token prediction
};
// Of a folder.  tokenizer: data.tokenizer of the run.  Error(kMissingInput): no config.json;
// Error(kConfig): one that is not built, by file, line and key.
HubConfig read_hub_config(const std::string& folder, const std::string& tokenizer);

// A config.json for the model, of the first family of transformers that computes it.  extra_layers:
// as above.  Error(kConfig), saying what no family has.
std::string hub_config_text(const ModelConfig& model, DType dtype, int64_t extra_layers);

}  // namespace orthant
