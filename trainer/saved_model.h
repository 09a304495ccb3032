// SPDX-License-Identifier: Apache-2.0
// A trained model, from its run directory or one of its checkpoints, for commands that only run it.
#pragma once

#include <memory>
#include <string>

#include "checkpoint/manifest.h"
#include "data/tokenizer.h"
#include "model/transformer.h"
#include "trainer/run_config.h"

namespace orthant {

struct SavedModel {
  Manifest manifest;
  RunConfig config;
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<Transformer> model;
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<int32_t> begin;    // tokens that every text begins with
  std::vector<int32_t> end_ids;  // that end one, beside the tokenizer's end of a document
};

// The tokenizer that a checkpoint's run kept beside its checkpoints.
std::unique_ptr<Tokenizer> saved_tokenizer(const Manifest& manifest, const RunConfig& config);

// The directory of a checkpoint: `path` itself, or the newest valid one of the run directory
// `path`. Error(kMissingInput), beginning with the name of the command.
std::string find_checkpoint(const std::string& command, const std::string& path);

// precision: fp64, fp32 or bf16; empty: that of the run.  Errors begin with the name of the
// command.
SavedModel load_saved_model(const std::string& command, const std::string& path,
                            const std::string& precision);

}  // namespace orthant
