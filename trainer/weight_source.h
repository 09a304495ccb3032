// SPDX-License-Identifier: Apache-2.0
// Where a role's weights come from.
#pragma once

#include <functional>

#include "checkpoint/manifest.h"
#include "trainer/role.h"
#include "trainer/training_state.h"

namespace orthant {

// Drawn by (seed, logical name, index): the same for every layout and precision.
WeightSource random_weights(uint64_t seed);
// Those of a checkpoint, of any layout and precision; prefix: of another role's than the unnamed
// one, "critic."; chosen: which.  Error(kData) naming a tensor that is missing or of another shape.
WeightSource checkpoint_weights(Manifest manifest, std::string prefix = "",
                                TensorChoice chosen = {});
// Adapters that are drawn by (seed, logical name, index).
WeightSource random_adapters(uint64_t seed);
// Those of a base's checkpoint, and the adapters beside them.
WeightSource adapted_weights(Manifest base, WeightSource adapters);
// Those that `whole` gives, whole tensors on every rank; those of which it gives none (an undefined
// one) stay as they are.
WeightSource given_weights(std::function<Tensor(const LogicalTensor& tensor)> whole);
// Those that another role computes with now, on the same ranks and laid out alike: Error(kConfig)
// otherwise.
WeightSource weights_of(const Role& other);

}  // namespace orthant
