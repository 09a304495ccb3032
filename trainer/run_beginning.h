// SPDX-License-Identifier: Apache-2.0
// The weights that a run begins with, and what goes with them into its directory.
#pragma once

#include <string>

#include "trainer/adapters.h"
#include "trainer/role.h"
#include "trainer/run_config.h"

namespace orthant {

struct FinetuneConfig;

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
