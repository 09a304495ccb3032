// SPDX-License-Identifier: Apache-2.0
// From a YAML file and overrides to what a run would be.
#pragma once

#include <string>
#include <vector>

#include "parallel/comm/group.h"
#include "trainer/finetune_config.h"
#include "trainer/run_plan.h"

namespace orthant {

struct RunFile {
  RunPlan plan;
  std::vector<std::string> notes;  // aliases that were used, a device that was chosen
};

// `group`: the ranks that agree on the device; all take the CPU for device: auto when one of them
// has no other.  Collective where a device other than the CPU is asked for.  world_size: ranks of
// the run that is described; 0: the fewest that its layout takes.  Error(kConfig), kMissingInput;
// kDevice when device: cuda is asked for and a rank has none.
RunFile load_run_file(const std::string& path, const std::vector<std::string>& overrides,
                      const Group& group, int world_size);
// The same of a run of fine-tuning, with a teacher or without.
struct FinetuneFile {
  RunFile run;
  FinetuneSections sections;
  FinetuneConfig open_config() const { return {run.plan.open_config(), sections}; }
};
FinetuneFile load_finetune_file(const std::string& path, const std::vector<std::string>& overrides,
                                const Group& group, int world_size);

}  // namespace orthant
