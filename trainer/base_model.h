// SPDX-License-Identifier: Apache-2.0
// What is known of the model that a run begins with: model.from names a published model's folder, a
// run directory or one of its checkpoints (its weights: trainer/run_beginning.h).
//
// What the configuration says of the model stands over what that model's own says, so that a run
// may change how positions are scaled, say.  A run that has begun is its own base: it needs the
// folder no more.
#pragma once

#include <string>
#include <vector>

#include "base/config/config.h"
#include "data/tokenizer.h"
#include "trainer/run_config.h"

namespace orthant {

struct FinetuneConfig;

// A run's configuration from YAML and overrides, with the base's model and, where it says nothing
// of one, the base's tokenizer.  Error(kMissingInput): no such file or model; Error(kConfig).
LoadedConfig<RunConfig> load_run_config(const std::string& path,
                                        const std::vector<std::string>& overrides);

// How texts of the base begin and end, and the folder with what came with it beside its weights:
// its chat template.  The run's own copy of that, where it has begun.  Error(kMissingInput), kData.
// A model that begins with drawn weights has its teacher's.
struct BaseTexts {
  std::string folder;
  std::vector<int32_t> begin;    // tokens that every text without a template begins with
  std::vector<int32_t> end_ids;  // that end what it writes, beside the tokenizer's
};
BaseTexts base_texts(const FinetuneConfig& config, const Tokenizer& tokenizer);

// Whether a path is a run directory or one of its checkpoints.
bool is_run(const std::string& path);
// Where model.from or distill.teacher.from is: as it says, or as the run has imported it, where
// that is gone; "" where it is nowhere.
std::string base_place(const std::string& run_dir, const std::string& from);
std::string teacher_place(const std::string& run_dir, const std::string& from);

}  // namespace orthant
