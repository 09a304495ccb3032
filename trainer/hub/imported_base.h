// SPDX-License-Identifier: Apache-2.0
// The published model that a run begins with, imported into RUN/base.
#pragma once

#include <string>

namespace orthant {

// RUN/base, where it was imported from `from`; "" where there is none, or that of another model.
std::string imported_base(const std::string& run_dir, const std::string& from);

// Imports `from` into RUN/base, unless it has been, and returns RUN/base.  What was imported from
// another model, from other files, or without a layer that predicts further where one is wanted,
// is imported again.  For a run without a checkpoint.  Not collective.
std::string import_base(const std::string& run_dir, const std::string& from, bool predicts_further);

}  // namespace orthant
