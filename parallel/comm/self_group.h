// SPDX-License-Identifier: Apache-2.0
// The group of one rank: Group answers for it without calling it.
#pragma once

#include "parallel/comm/group_impl.h"

namespace orthant {

// Without a state, one of its own (a world of one).
std::shared_ptr<GroupImpl> make_self_group(std::shared_ptr<CommState> state, int world_rank,
                                           const std::string& name);

}  // namespace orthant
