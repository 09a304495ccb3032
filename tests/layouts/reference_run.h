// SPDX-License-Identifier: Apache-2.0
// The same steps by the reference model.
#pragma once

#include "tests/layouts/engine_run.h"

namespace orthant::testing {

struct ReferenceRun {
  std::vector<ReferenceResult> steps;  // with the gradients of the first one only
  std::vector<double> norms;           // before clipping
  NamedValues gradients, weights, m, v;
  StepChoices choices;
};

// From initial_weights(variant); computed once a process for a variant, optimizer, rate, number
// of steps and given choices.
const ReferenceRun& reference_run(const Variant& variant, const LayoutOptions& options);

}  // namespace orthant::testing
