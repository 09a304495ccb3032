// SPDX-License-Identifier: Apache-2.0
// Which layers the stages of a pipeline hold.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"

namespace orthant {

// Consecutive layers of the model, the embedding with the first and the head with the last.
struct StageLayers {
  int64_t begin = 0, end = -1;  // -1: to the last
};

// The stages in order, each with a layer at least.  layers_of: layers of each stage; empty: so that
// the stage with the most operations has as few as can be, the head counted with the last stage.
// Error(kConfig) where the layers do not suffice, or layers_of does not add up to them.
std::vector<StageLayers> split_stages(const ModelConfig& model, int64_t sequence_length,
                                      int64_t stages, const std::vector<int64_t>& layers_of);

}  // namespace orthant
