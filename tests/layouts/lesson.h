// SPDX-License-Identifier: Apache-2.0
// A variant that learns from another one, on a layout.
#pragma once

#include <string>

#include "tests/layouts/engine_run.h"
#include "trainer/distill_config.h"

namespace orthant::testing {

struct Lesson {
  std::string learner, teacher;
  DistillSection section;
  bool adapters = false;
  std::string device = "cpu";
  double teacher_scale = 1.25;  // of its weights: another model, also where it is of one kind
};

// Thread ranks; what the first one has.
EngineRun run_lesson(const Lesson& lesson, const LayoutOptions& options, int ranks);

}  // namespace orthant::testing
