// SPDX-License-Identifier: Apache-2.0
// Whether what a configuration says over its base's model leaves that model's weights of use.
#pragma once

#include "trainer/run_config.h"

namespace orthant {

// Error(kConfig) where the model of `made` has tensors of other names or shapes than that of
// `base`, naming the keys of model that make the difference.  A layer that predicts further may be
// more.
void check_fits_base(const RunConfig& base, const RunConfig& made);

}  // namespace orthant
