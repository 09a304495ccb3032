// SPDX-License-Identifier: Apache-2.0
// A trained model, from its run directory or one of its checkpoints, for commands that only run it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/manifest.h"
#include "data/tokenizer.h"
#include "trainer/hub/stored_adapter.h"
#include "trainer/role.h"
#include "trainer/run_config.h"

namespace orthant {

struct SavedModel {
  Manifest manifest;
  RunConfig config;      // its parallel block: of the ranks that hold the model now
  WeightSource weights;  // of the role
  std::shared_ptr<Role> role;
  const Transformer* model = nullptr;  // the role's first stage: all of it without a pipeline
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<int32_t> begin;    // tokens that every text begins with
  std::vector<int32_t> end_ids;  // that end one, beside the tokenizer's end of a document
  std::string adapter;           // XXH3-128 of adapters from elsewhere, "" without
  NamedAdapters adapters;        // as DecodeRequest::adapter counts them
  bool has_named_adapters() const { return !adapters.empty() && !adapters.front().name.empty(); }
};
// The number of an adapter by name, -1 for "".  Error(kind), beginning with `where`, naming those
// that there are.
int64_t adapter_number(const SavedModel& model, const std::string& name, const std::string& where,
                       ErrorKind kind = ErrorKind::kConfig);

// The tokenizer that a checkpoint's run kept beside its checkpoints.
std::unique_ptr<Tokenizer> saved_tokenizer(const Manifest& manifest, const RunConfig& config);

// The directory of a checkpoint: `path` itself, or the newest valid one of the run directory
// `path`. Error(kMissingInput), beginning with the name of the command.
std::string find_checkpoint(const std::string& command, const std::string& path);

struct SavedModelOptions {
  std::string precision = "";               // fp64, fp32 or bf16; empty: that of the run
  std::vector<std::string> overrides = {};  // parallel.KEY=VALUE: how the ranks share the model
  // To stand beside the model: one without a name, or some by name; none: the run's own.  A model
  // with adapters by name only decodes.
  std::vector<AdapterPlace> adapters = {};
};
// All of it but the role, for a role beside others.  is_first: of the ranks that do so, which tells
// what is told.  Errors begin with the name of the command, or of the key that names the model.
SavedModel read_saved_model(const std::string& command, const std::string& path,
                            const SavedModelOptions& options, bool is_first);
// Errors likewise.  Collective.
SavedModel load_saved_model(const std::string& command, const std::string& path,
                            const SavedModelOptions& options, const Group& world);
// On this rank alone.
SavedModel load_saved_model(const std::string& command, const std::string& path,
                            const std::string& precision, const std::string& adapter = "");

}  // namespace orthant
