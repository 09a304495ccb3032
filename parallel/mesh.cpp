// SPDX-License-Identifier: Apache-2.0
#include "parallel/mesh.h"

#include <algorithm>
#include <set>

#include "base/error.h"

namespace orthant {
namespace {

std::string groups_text(const std::vector<std::vector<int>>& groups) {
  std::string text;
  for (const std::vector<int>& group : groups) {
    text += text.empty() ? "{" : " {";
    for (size_t i = 0; i < group.size(); ++i) text += concat(i ? "," : "", group[i]);
    text += "}";
  }
  return text;
}

std::vector<std::vector<int>> groups_along(const Mesh& mesh, Axis axis) {
  std::vector<std::vector<int>> groups;
  for (int rank = 0; rank < mesh.world_size(); ++rank) {
    std::vector<int> peers = mesh.peers(rank, {axis});
    if (peers.front() == rank) groups.push_back(std::move(peers));
  }
  return groups;
}

}  // namespace

const char* name_of(Axis axis) {
  switch (axis) {
    case Axis::kPipeline:
      return "pp";
    case Axis::kData:
      return "dp";
    case Axis::kContext:
      return "cp";
    case Axis::kTensor:
      return "tp";
    case Axis::kExpertData:
      return "edp";
    case Axis::kExpert:
      return "ep";
    case Axis::kExpertTensor:
      return "etp";
  }
  return "?";
}

Mesh::Mesh(int world_size, std::vector<AxisSize> axes)
    : world_size_(world_size), axes_(std::move(axes)) {
  int64_t product = 1;
  std::set<Axis> seen;
  std::string names, sizes;
  for (const AxisSize& a : axes_) {
    ORTHANT_CHECK(a.size >= 1, kConfig, "mesh: want ", name_of(a.axis), " >= 1, got ", a.size);
    ORTHANT_CHECK(seen.insert(a.axis).second, kConfig, "mesh: axis ", name_of(a.axis),
                  " is named twice");
    // Stays small: it stops growing once it is above any world size.
    product = std::min<int64_t>(product * a.size, int64_t{1} << 40);
    names += concat(names.empty() ? "" : "*", name_of(a.axis));
    sizes += concat(sizes.empty() ? "" : "*", a.size);
  }
  ORTHANT_CHECK(product == world_size_, kConfig, "mesh: ", names, " = ", sizes, " = ", product,
                ", but the job has ", world_size_, world_size_ == 1 ? " rank" : " ranks",
                "; make the parallel sizes multiply to ", world_size_, " or start ", product,
                product == 1 ? " rank" : " ranks");
}

int Mesh::size(Axis axis) const {
  for (const AxisSize& a : axes_) {
    if (a.axis == axis) return a.size;
  }
  return 1;
}

int Mesh::coord(int rank, Axis axis) const {
  ORTHANT_CHECK(rank >= 0 && rank < world_size_, kInternal, "mesh: want a rank below ", world_size_,
                ", got ", rank);
  for (size_t i = axes_.size(); i-- > 0;) {
    if (axes_[i].axis == axis) return rank % axes_[i].size;
    rank /= axes_[i].size;
  }
  return 0;
}

std::vector<int> Mesh::peers(int rank, std::initializer_list<Axis> along) const {
  std::vector<int> peers;
  for (int other = 0; other < world_size_; ++other) {
    const bool same = std::all_of(axes_.begin(), axes_.end(), [&](const AxisSize& a) {
      return std::find(along.begin(), along.end(), a.axis) != along.end() ||
             coord(other, a.axis) == coord(rank, a.axis);
    });
    if (same) peers.push_back(other);
  }
  return peers;
}

std::string Mesh::describe(int rank) const {
  std::string text;
  for (const AxisSize& a : axes_) {
    if (a.size == 1) continue;
    text += concat(text.empty() ? "" : " ", name_of(a.axis), coord(rank, a.axis));
  }
  return text;
}

std::string Mesh::text() const {
  std::string text;
  for (const AxisSize& a : axes_) {
    text += concat(text.empty() ? "" : " x ", name_of(a.axis), " ", a.size);
  }
  return text;
}

void check_same_peers(const Mesh& dense, const Mesh& expert, Axis axis) {
  const auto a = groups_along(dense, axis), b = groups_along(expert, axis);
  ORTHANT_CHECK(dense.world_size() == expert.world_size() && a == b, kConfig,
                "mesh: ", dense.text(), " and ", expert.text(), " must group the same ranks along ",
                name_of(axis), ", got ", groups_text(a), " and ", groups_text(b));
}

}  // namespace orthant
