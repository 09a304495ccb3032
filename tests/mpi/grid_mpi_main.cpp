// SPDX-License-Identifier: Apache-2.0
// Layouts over all axes (tests/layouts/grid.h) under a real mpirun: gradients of the first step,
// and weights after three, against a run on one rank, which every rank makes by itself.
//   mpirun -n 8 grid_mpi
#include "tests/layouts/grid.h"
#include "tests/mpi/mpi_test.h"

using namespace orthant;
using namespace orthant::testing;

namespace {

std::string difference_of(const GridLayout& layout, const Group& world) {
  const Variant variant = layout.variant();
  const EngineRun want = run_engine(variant, {.gradients = true}, Group::self());
  const EngineRun got = run_engine(variant, layout.options(), world);
  std::string text;
  for (const WorstDifference& d : {worst_difference(got.gradients, want.gradients),
                                   worst_difference(got.weights, want.weights)})
    if (!(d.error <= 1e-10))
      text += concat("rank ", world.rank(), ", ", layout.text(), ": ", d.tensor, " differs by ",
                     d.error, "\n");
  return text;
}

std::string layout_differences(const Group& world) {
  constexpr int kLayouts = 20;
  std::string text;
  int count = 0;
  for (const GridLayout& layout : pairwise_layouts(8).layouts)
    if (layout.ranks() == world.size() && count++ < kLayouts) text += difference_of(layout, world);
  if (world.rank() == 0) std::printf("%d layouts\n", std::min(count, kLayouts));
  return text;
}

}  // namespace

int main() { return run_mpi_test("grid_mpi", layout_differences); }
