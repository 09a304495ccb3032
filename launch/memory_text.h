// SPDX-License-Identifier: Apache-2.0
// What a run would hold, for --dry-run.
#pragma once

#include "trainer/run_plan.h"

namespace orthant {

// The fullest rank of each stage, on standard output.
void print_memory(const RunPlan& plan);

}  // namespace orthant
