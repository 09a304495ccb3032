// SPDX-License-Identifier: Apache-2.0
// Whole logical tensors out of what ranks hold of them.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint_tensor.h"
#include "parallel/comm/group.h"
#include "trainer/closeness.h"

namespace orthant {

// Every tensor that any rank has a piece of, on every rank.  Pieces that several ranks hold must be
// equal to the bit: Error(kNumeric) naming the tensor and both ranks otherwise; Error(kInternal)
// when elements are missing.  For models small enough to stand in host memory in f64.  Collective.
NamedValues gather_whole(const Group& group, const std::vector<CheckpointTensor>& pieces);

}  // namespace orthant
