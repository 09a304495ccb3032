// SPDX-License-Identifier: Apache-2.0
// Which backends the conformance test can reach.
#pragma once

#include <string>
#include <vector>

#include "tensor/backend.h"

namespace orthant::testing {

// "cpu", "cuda", and "plugin" when ORTHANT_CONFORMANCE_PLUGIN is set.
std::vector<std::string> backends_under_test();
// Null with a reason when it cannot be used here.  Later calls of this thread go to its first
// device.
const Backend* backend_under_test(const std::string& name, std::string& why_not);

}  // namespace orthant::testing
