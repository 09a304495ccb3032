// SPDX-License-Identifier: Apache-2.0
// Groups of the ranks that share a cell of a mesh.
#pragma once

#include <initializer_list>
#include <string>

#include "parallel/comm/group.h"
#include "parallel/mesh.h"

namespace orthant {

// The group of this rank's peers along these axes, ordered by rank.  Collective over `world`, whose
// size must be the mesh's: make groups once, all of them, in one fixed order.
Group make_group(const Group& world, const Mesh& mesh, std::initializer_list<Axis> along,
                 const std::string& name, Site site = Site::current());

}  // namespace orthant
