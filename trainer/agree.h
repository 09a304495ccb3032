// SPDX-License-Identifier: Apache-2.0
// Work that one rank does for all.
#pragma once

#include <functional>
#include <string>

#include "parallel/comm/group.h"

namespace orthant {

// Rank 0 runs `work`; every rank returns its text, or throws its Error.  Collective.
std::string first_rank_does(const Group& group, const std::function<std::string()>& work,
                            Site site = Site::current());

}  // namespace orthant
