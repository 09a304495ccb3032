// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/make_group.h"

#include "base/error.h"

namespace orthant {

Group make_group(const Group& world, const Mesh& mesh, std::initializer_list<Axis> along,
                 const std::string& name, Site site) {
  ORTHANT_CHECK(world.size() == mesh.world_size(), kInternal, "group ", name, ": want ",
                mesh.world_size(), " ranks for mesh ", mesh.text(), ", got ", world.size());
  // The lowest peer is the colour: all agree without talking.
  return world.split(mesh.peers(world.rank(), along).front(), world.rank(), name, site);
}

}  // namespace orthant
