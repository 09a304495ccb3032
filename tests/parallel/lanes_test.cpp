// SPDX-License-Identifier: Apache-2.0
#include "parallel/lanes.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "parallel/gradient_buffers.h"

namespace orthant {
namespace {

// Runs the plan's additions on texts: the bracketing is what decides the bits.
std::string bracketing(const LanePlan& plan, int64_t first) {
  std::vector<std::string> slots(static_cast<size_t>(plan.slots));
  for (int64_t i = 0; i < plan.micro_batches; ++i) {
    const size_t slot = static_cast<size_t>(plan.slot_of(i));
    const std::string name = std::to_string(first + i);
    slots[slot] = plan.starts_lane(i) ? name : "(" + slots[slot] + "+" + name + ")";
    for (int64_t m = 0; m < plan.merges_after(i); ++m) {
      const size_t at = slot - static_cast<size_t>(m);
      slots[at - 1] = "(" + slots[at - 1] + "+" + slots[at] + ")";
    }
  }
  return slots[0];
}

std::string tree_over_ranks(std::vector<std::string> parts) {
  for (size_t stride = 1; stride < parts.size(); stride *= 2) {
    for (size_t i = 0; i + stride < parts.size(); i += 2 * stride)
      parts[i] = "(" + parts[i] + "+" + parts[i + stride] + ")";
  }
  return parts[0];
}

TEST(LanesTest, EveryRankCountThatDividesTheLanesMakesTheSameAdditions) {
  for (int64_t total : {1, 2, 4, 6, 8, 12, 16, 24, 40, 64}) {
    for (int64_t reduction_lanes : {1, 2, 4, 8, 16}) {
      const std::string want = bracketing(plan_lanes(total, 1, reduction_lanes), 0);
      for (int64_t ranks : {2, 4, 8, 16}) {
        if (total % ranks != 0) continue;
        const LanePlan plan = plan_lanes(total, ranks, reduction_lanes);
        if (!plan.layout_exact) continue;
        std::vector<std::string> parts;
        for (int64_t r = 0; r < ranks; ++r)
          parts.push_back(bracketing(plan, r * plan.micro_batches));
        EXPECT_EQ(tree_over_ranks(parts), want)
            << total << " micro-batches, " << ranks << " ranks, " << reduction_lanes << " lanes";
      }
    }
  }
}

TEST(LanesTest, LanesAreTheLargestPowerOfTwoThatFits) {
  EXPECT_EQ(plan_lanes(12, 1, 8).local_lanes, 4);
  EXPECT_EQ(plan_lanes(16, 2, 8).local_lanes, 4);
  EXPECT_EQ(plan_lanes(16, 2, 8).slots, 3);
  EXPECT_EQ(plan_lanes(7, 1, 8).local_lanes, 1);
  EXPECT_FALSE(plan_lanes(6, 3, 8).layout_exact);
  EXPECT_EQ(plan_lanes(6, 3, 8).local_lanes, 1);
}

TEST(LanesTest, RefusesRanksThatCannotShare) { EXPECT_THROW(plan_lanes(6, 4, 8), Error); }

TEST(GradientBuffersTest, MissingAndSurplusGradientsAreNamed) {
  ParameterStore store;
  ParameterUse& p = store.add({.name = "p",
                               .shape = {2, 2},
                               .dtype = DType::kF64,
                               .logical = {whole_tensor("p.weight", {2, 2}, 0, 0.1)}});
  GradientBuffers buffers(store, {Group::self(), Group::self()}, plan_lanes(2, 1, 1), {});
  const auto write = [](const Tensor& t, bool accumulate) {
    for (double& x : t.span<double>()) x = (accumulate ? x : 0.0) + 1.0;
  };
  buffers.begin_step();
  p.add_gradient(write);
  EXPECT_THROW(buffers.finish_step(), Error);
  p.add_gradient(write);
  buffers.finish_step();
  EXPECT_EQ(buffers.sum_of(p.parameter()).to_doubles(), (std::vector<double>{2, 2, 2, 2}));
  EXPECT_THROW(p.add_gradient(write), Error);
}

TEST(ParameterTest, InitialValuesAreAFunctionOfNameAndIndexOnly) {
  // A slice of a logical tensor gets the values that the whole has there.
  const auto make = [](LogicalTensor logical) {
    auto p = std::make_unique<Parameter>(Parameter::Options{
        .name = "s", .shape = logical.shape, .dtype = DType::kF64, .logical = {logical}});
    p->initialize(5);
    return p->value().to_doubles();
  };
  const std::vector<double> whole = make(whole_tensor("w", {4, 6}, 0, 0.5));
  LogicalTensor part = whole_tensor("w", {4, 6}, 0, 0.5);
  part.begin = {1, 2};
  part.shape = {2, 3};
  const std::vector<double> slice = make(part);
  for (size_t i = 0; i < 2; ++i) {
    for (size_t j = 0; j < 3; ++j) EXPECT_EQ(slice[i * 3 + j], whole[(i + 1) * 6 + j + 2]);
  }
}

}  // namespace
}  // namespace orthant
