// SPDX-License-Identifier: Apache-2.0
// A published model that a run needs, imported into a folder of the run: RUN/base, what it begins
// with.
#pragma once

#include <string>

namespace orthant {

// `folder`, where it was imported from `from`; "" where there is none, or that of another model.
std::string imported_model(const std::string& folder, const std::string& from);

// Imports `from` into `folder`, unless it has been, and returns `folder`.  What was imported from
// another model, from other files, or without a layer that predicts further where one is wanted,
// is imported again.  For a run without a checkpoint.  key: that names the model, in messages.  Not
// collective.
std::string import_into(const std::string& key, const std::string& folder, const std::string& from,
                        bool predicts_further = false);

}  // namespace orthant
