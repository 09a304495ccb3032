// SPDX-License-Identifier: Apache-2.0
// config.json of a published model, in and out.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "data/tokenizer.h"
#include "trainer/run_config.h"

namespace orthant {

// How weights that are kept in FP8 become wider: each block of [rows, cols] has a factor, in the
// tensor NAME_scale_inv.
struct Fp8Blocks {
  int64_t rows = 0, cols = 0;
};

struct HubConfig {
  RunConfig config;  // its model is resolved
  std::optional<Fp8Blocks> fp8;
  int64_t extra_layers = 0;  // behind the last, for multi-token prediction
};
struct HubConfigOrigin {
  std::string label;      // of the text, in messages
  std::string name;       // run.name
  std::string tokenizer;  // data.tokenizer of the run
};
// text: of a config.json.  Error(kConfig): what is not built, by file, line and key.
HubConfig parse_hub_config(const std::string& text, const HubConfigOrigin& origin);

// What config.json says of special tokens: JSON texts by key, "eos_token_id" -> "[0, 366]".
using TokenIds = std::map<std::string, std::string>;
// Those of a folder's config.json, or of a tokenizer.
TokenIds token_ids_of(const std::string& folder);
TokenIds token_ids_of(const Tokenizer& tokenizer);

// A config.json for the model, of the first family of transformers that computes it.  extra_layers:
// of the folder, behind the last, trained or not.  Error(kConfig), saying what no family has.
std::string hub_config_text(const ModelConfig& model, DType dtype, int64_t extra_layers,
                            const TokenIds& ids = {});

}  // namespace orthant
