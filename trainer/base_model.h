// SPDX-License-Identifier: Apache-2.0
// The model that a run begins with: model.from names a published model's folder, a run directory or
// one of its checkpoints.
//
// What the configuration says of the model stands over what that model's own says, so that a run
// may change how positions are scaled, say.  A run that has begun is its own base: it needs the
// folder no more.
#pragma once

#include <string>
#include <vector>

#include "base/config/config.h"
#include "data/tokenizer.h"
#include "trainer/adapters.h"
#include "trainer/role.h"
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

// The run's first weights: those of the base, or drawn.  A published model is imported into
// RUN/base, once, and what goes with it (tokenizer, chat template) is kept in RUN/hub for an
// export.  Adapters keep their base: it is found again when the run goes on.
struct RunBeginning {
  WeightSource weights;
  std::string begins_with = {};  // the token that every text of the base begins with
  AdapterBase base = {};         // of adapters
};
// stored: the base that a run which goes on has had; null where the run has no checkpoint yet.
// Error(kConfig): adapters without a base.  Collective.
RunBeginning begin_from_base(const RunConfig& config, const AdapterBase* stored,
                             const Group& world);

// The checkpoint of distill.teacher.from; a published model is imported into RUN/teacher first.  Of
// one rank.  Error(kMissingInput).
std::string teacher_checkpoint(const FinetuneConfig& config);
// Texts of the run begin and end as those of another model do, whose files (chat template) become
// the run's.  Returns RunBeginning::begins_with.  Collective.
std::string take_texts(const Manifest& other, const std::string& run_dir, const Group& world);

}  // namespace orthant
