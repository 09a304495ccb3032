// SPDX-License-Identifier: Apache-2.0
// What a teacher says of all labels of a run's data, from all ranks into a file.
#pragma once

#include "parallel/comm/group.h"
#include "trainer/finetune_config.h"
#include "trainer/run_plan.h"

namespace orthant {

// distill.teacher.from looks at all examples of the configuration, held-out ones too; nothing is
// trained.  The file (data/teacher_file.h) appears when it is complete.  Returns how many labels it
// has.  Error(kConfig, kData, kMissingInput, kCannotWrite).  Collective.
int64_t write_teacher_log_probs(const RunPlan& plan, const FinetuneSections& sections,
                                const std::string& path, const Group& host_world);

}  // namespace orthant
