// SPDX-License-Identifier: Apache-2.0
#include "parallel/mesh.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "parallel/comm/make_group.h"
#include "parallel/comm/threads/run_ranks.h"

namespace orthant {
namespace {

std::string config_error(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

const Mesh& dense() {
  static const Mesh mesh(8, {{Axis::kPipeline, 2}, {Axis::kData, 2}, {Axis::kTensor, 2}});
  return mesh;
}

TEST(Mesh, LastAxisVariesFastest) {
  EXPECT_EQ(dense().coord(6, Axis::kPipeline), 1);
  EXPECT_EQ(dense().coord(6, Axis::kData), 1);
  EXPECT_EQ(dense().coord(6, Axis::kTensor), 0);
  EXPECT_EQ(dense().coord(6, Axis::kContext), 0);
  EXPECT_EQ(dense().size(Axis::kContext), 1);
  EXPECT_EQ(dense().describe(6), "pp1 dp1 tp0");
  EXPECT_EQ(dense().text(), "pp 2 x dp 2 x tp 2");
}

TEST(Mesh, PeersEqualOnTheOtherAxes) {
  EXPECT_EQ(dense().peers(5, {Axis::kTensor}), (std::vector<int>{4, 5}));
  EXPECT_EQ(dense().peers(5, {Axis::kData}), (std::vector<int>{5, 7}));
  EXPECT_EQ(dense().peers(5, {Axis::kPipeline}), (std::vector<int>{1, 5}));
  EXPECT_EQ(dense().peers(5, {Axis::kData, Axis::kTensor}), (std::vector<int>{4, 5, 6, 7}));
  EXPECT_EQ(dense().peers(5, {Axis::kContext}), (std::vector<int>{5}));
  EXPECT_EQ(dense().peers(5, {}), (std::vector<int>{5}));
}

TEST(Mesh, RefusesSizesThatDoNotMultiply) {
  const std::string text = config_error([] {
    Mesh(8, {{Axis::kPipeline, 2}, {Axis::kData, 3}, {Axis::kTensor, 2}});
  });
  EXPECT_NE(text.find("pp*dp*tp = 2*3*2 = 12, but the job has 8 ranks"), std::string::npos) << text;
  config_error([] { Mesh(0, {{Axis::kData, 0}}); });
  config_error([] { Mesh(4, {{Axis::kData, 2}, {Axis::kData, 2}}); });
  config_error([] { Mesh(0, {{Axis::kData, 65536}, {Axis::kTensor, 65536}}); });
}

TEST(Mesh, ComparesPeersOfTwoViews) {
  const Mesh folded(8, {{Axis::kPipeline, 2}, {Axis::kExpert, 4}});
  check_same_peers(dense(), folded, Axis::kPipeline);
  const Mesh other(8, {{Axis::kExpert, 4}, {Axis::kPipeline, 2}});
  const std::string text = config_error([&] { check_same_peers(dense(), other, Axis::kPipeline); });
  EXPECT_NE(text.find("{0,4} {1,5} {2,6} {3,7}"), std::string::npos) << text;
  EXPECT_NE(text.find("{0,1} {2,3} {4,5} {6,7}"), std::string::npos) << text;
}

TEST(MakeGroup, JoinsThePeersOfTheMesh) {
  run_ranks(8, [](const Group& world) {
    const Group tensor = make_group(world, dense(), {Axis::kTensor}, "tp");
    const Group both = make_group(world, dense(), {Axis::kPipeline, Axis::kTensor}, "pp tp");
    const Group none = make_group(world, dense(), {Axis::kContext}, "cp");
    EXPECT_EQ(tensor.world_ranks(), dense().peers(world.rank(), {Axis::kTensor}));
    EXPECT_EQ(both.world_ranks(), dense().peers(world.rank(), {Axis::kPipeline, Axis::kTensor}));
    EXPECT_EQ(both.world_ranks()[static_cast<size_t>(both.rank())], world.rank());
    EXPECT_EQ(none.size(), 1);
    EXPECT_EQ(tensor.name(), "tp");
    EXPECT_EQ(tensor.sum(1.0), 2.0);
  });
}

}  // namespace
}  // namespace orthant
