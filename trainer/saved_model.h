// SPDX-License-Identifier: Apache-2.0
// A trained model, from its run directory or one of its checkpoints, for commands that only run it.
#pragma once

#include <memory>
#include <string>

#include "checkpoint/manifest.h"
#include "data/tokenizer.h"
#include "trainer/role.h"
#include "trainer/run_config.h"

namespace orthant {

struct SavedModel {
  Manifest manifest;
  RunConfig config;  // its parallel block: of the ranks that hold the model now
  std::shared_ptr<Role> role;
  const Transformer* model = nullptr;  // the role's first stage: all of it without a pipeline
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<int32_t> begin;    // tokens that every text begins with
  std::vector<int32_t> end_ids;  // that end one, beside the tokenizer's end of a document
  std::string adapter;           // XXH3-128 of adapters from elsewhere, "" without
};

// The tokenizer that a checkpoint's run kept beside its checkpoints.
std::unique_ptr<Tokenizer> saved_tokenizer(const Manifest& manifest, const RunConfig& config);

// The directory of a checkpoint: `path` itself, or the newest valid one of the run directory
// `path`. Error(kMissingInput), beginning with the name of the command.
std::string find_checkpoint(const std::string& command, const std::string& path);

struct SavedModelOptions {
  std::string precision = "";               // fp64, fp32 or bf16; empty: that of the run
  std::vector<std::string> overrides = {};  // parallel.KEY=VALUE: how the ranks share the model
  std::string adapter = "";  // to stand beside the model: as of open_adapter; empty: the run's own
  bool may_be_another_base = false;  // of that adapter's: is not warned of
};
// Errors begin with the name of the command.  Collective.
SavedModel load_saved_model(const std::string& command, const std::string& path,
                            const SavedModelOptions& options, const Group& world);
// On this rank alone.
SavedModel load_saved_model(const std::string& command, const std::string& path,
                            const std::string& precision, const std::string& adapter = "");

}  // namespace orthant
