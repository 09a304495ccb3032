// SPDX-License-Identifier: Apache-2.0
#include "parallel/agree_isa.h"

#include <gtest/gtest.h>

#include <vector>

#include "parallel/comm/threads/run_ranks.h"

namespace orthant::testing {
namespace {

using cpu::Isa;
using cpu::IsaRates;

struct Machine {
  std::optional<Isa> forced;
  Isa detected;
  IsaRates rates;
};

// What every rank settles on; the same on all, or the test fails.
Isa agreed(const std::vector<Machine>& machines) {
  std::vector<Isa> levels(machines.size());
  run_ranks(static_cast<int>(machines.size()), [&](const Group& world) {
    const auto rank = static_cast<size_t>(world.rank());
    const Machine& own = machines[rank];
    levels[rank] = agreed_isa(world, own.forced, own.detected, [&](Isa) { return own.rates; }).isa;
  });
  for (const Isa level : levels) EXPECT_EQ(level, levels[0]);
  return levels[0];
}

TEST(AgreeIsa, RanksRunAtOneLevel) {
  const Machine amd{{}, Isa::kAvx512Bf16, {0, 230, 450, 0}};
  const Machine intel{{}, Isa::kAvx512Bf16, {0, 164, 95, 0}};
  const Machine old{{}, Isa::kAvx512, {}};
  const Machine amx{{}, Isa::kAmx, {0, 164, 95, 900}};
  EXPECT_EQ(agreed({amd, amd, amd}), Isa::kAvx512Bf16);
  EXPECT_EQ(agreed({intel, intel}), Isa::kAvx512);
  EXPECT_EQ(agreed({amx, amx}), Isa::kAmx);
  EXPECT_EQ(agreed({amd, old}), Isa::kAvx512);
  EXPECT_EQ(agreed({amx, intel}), Isa::kAvx512);
}

TEST(AgreeIsa, OneRankThatWasHeldUpDecidesNothing) {
  const Machine amd{{}, Isa::kAvx512Bf16, {0, 230, 450, 0}};
  const Machine held_up{{}, Isa::kAvx512Bf16, {0, 230, 90, 0}};
  EXPECT_EQ(agreed({amd, amd, held_up, amd}), Isa::kAvx512Bf16);
}

TEST(AgreeIsa, AnyRanksWordBindsAll) {
  const Machine amd{{}, Isa::kAvx512Bf16, {0, 230, 450, 0}};
  Machine told = amd;
  told.forced = Isa::kAvx512;
  EXPECT_EQ(agreed({amd, told}), Isa::kAvx512);
  told.forced = Isa::kAvx512Bf16;  // also where products would say otherwise
  EXPECT_EQ(agreed({told, {{}, Isa::kAvx512Bf16, {0, 164, 95, 0}}}), Isa::kAvx512Bf16);
  EXPECT_EQ(agreed({told, {{}, Isa::kScalar, {}}}), Isa::kScalar);
}

}  // namespace
}  // namespace orthant::testing
