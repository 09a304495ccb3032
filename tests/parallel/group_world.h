// SPDX-License-Identifier: Apache-2.0
// What the cases of group_conformance.cpp run on; defined by each program that has them.
#pragma once

#include <functional>

#include "parallel/comm/group.h"

namespace orthant::group_world {

void run(int size, const std::function<void(const Group& world)>& body);
Device device();  // of the calling rank's tensors

}  // namespace orthant::group_world
