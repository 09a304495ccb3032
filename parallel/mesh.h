// SPDX-License-Identifier: Apache-2.0
// Names the axes of the world: which rank owns which cell of (pipeline, data, context, tensor),
// and, as a second view of the same ranks, of (pipeline, expert data, expert, expert tensor).  Pure
// arithmetic: no communicator.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace orthant {

enum class Axis { kPipeline, kData, kContext, kTensor, kExpertData, kExpert, kExpertTensor };
const char* name_of(Axis axis);  // "pp", "dp", "cp", "tp", "edp", "ep", "etp"

struct AxisSize {
  Axis axis;
  int size;
};

// Row-major: the last axis varies fastest; tensor goes last, so that its ranks are neighbours.
class Mesh {
 public:
  // Error(kConfig) unless the sizes multiply to world_size; the message does the arithmetic.
  Mesh(int world_size, std::vector<AxisSize> axes);
  int world_size() const { return world_size_; }
  int size(Axis axis) const;             // 1 for an axis that this mesh does not name
  int coord(int rank, Axis axis) const;  // 0 for such an axis
  // Ranks that equal `rank` on every axis outside `along`, ascending; includes `rank`.
  std::vector<int> peers(int rank, std::initializer_list<Axis> along) const;
  std::string describe(int rank) const;  // "pp1 dp0 tp1", axes of size 1 left out
  std::string text() const;              // "pp 2 x dp 2 x tp 2"

 private:
  int world_size_;
  std::vector<AxisSize> axes_;
};

// Error(kConfig), printing both enumerations, unless both meshes group the same ranks along `axis`.
void check_same_peers(const Mesh& dense, const Mesh& expert, Axis axis);

}  // namespace orthant
