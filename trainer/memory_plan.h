// SPDX-License-Identifier: Apache-2.0
// What the ranks of a run would hold: found by a training step of all of them, as threads, on the
// device that has no memory (tensor/meta/backend.cpp).
//
// Parameters, gradients and optimizer state are those of the run to the byte.  Activations are
// those of experts that get the same number of tokens each, and are attention's and the products'
// as on the CPU.
#pragma once

#include <vector>

#include "base/ledger.h"
#include "trainer/run_plan.h"

namespace orthant {

// By rank: peaks over a step.
std::vector<MemoryPeaks> predict_memory(const RunPlan& plan);

}  // namespace orthant
