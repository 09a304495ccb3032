// SPDX-License-Identifier: Apache-2.0
// The loop of supervised fine-tuning: adapters beside a model, or all of it, towards the answers of
// conversations, or what a teacher says of them.
#pragma once

#include <atomic>

#include "parallel/comm/group.h"
#include "trainer/finetune_config.h"
#include "trainer/run_plan.h"

namespace orthant {

struct FinetuneOptions {
  RunPlan plan;  // for the ranks of the group
  FinetuneSections sections;
  // Set by a signal handler: save and leave at the end of the step.
  const std::atomic<bool>* stop = nullptr;
  double start_seconds = 0;  // now_seconds() when the process began
};

struct FinetuneResult {
  int64_t step = 0;
  bool interrupted = false;  // saved before the end: exit code 75
};

// Trains to run.max_steps, or until held-out conversations get no better; resumes from the newest
// valid checkpoint of the run directory.  Collective over `world`.
FinetuneResult finetune(const FinetuneOptions& options, const Group& world);

}  // namespace orthant
