// SPDX-License-Identifier: Apache-2.0
// Experts on other ranks compute what one plain rank computes; expert parallelism alone (no
// expert-tensor ranks) has the forward bits of all experts local.
#include <gtest/gtest.h>

#include "tests/layouts/reference_run.h"
#include "tests/layouts/worst.h"

namespace orthant::testing {
namespace {

struct ExpertLayout {
  int ranks, ep, etp;
};
constexpr ExpertLayout kLayouts[] = {{2, 2, 1}, {4, 2, 1}, {4, 4, 1}, {8, 2, 1}, {8, 4, 1},
                                     {2, 1, 2}, {4, 2, 2}, {8, 2, 2}, {8, 4, 2}, {8, 1, 2}};

// Layouts whose experts and inner width can be shared so.
bool fits(const Variant& variant, const ExpertLayout& layout) {
  const ModelConfig& m = variant.config.model;
  return m.n_routed_experts % layout.ep == 0 && m.moe_intermediate_size % layout.etp == 0;
}

EngineOptions with(EngineOptions options, const ExpertLayout& layout) {
  options.expert_parallel_size = layout.ep;
  options.expert_tensor_parallel_size = layout.etp;
  return options;
}

class ExpertParallel : public ::testing::TestWithParam<std::string> {
 protected:
  const Variant& variant() const { return find_variant(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Models, ExpertParallel,
                         ::testing::Values("moe", "moe_normalized_tied", "moe_deep"),
                         [](const auto& param) { return param.param; });

TEST_P(ExpertParallel, Fp64EqualsReference) {
  Worst worst(1e-10);
  for (const ExpertLayout& layout : kLayouts) {
    if (!fits(variant(), layout)) continue;
    for (const char* optimizer : {"sgd", "adamw"}) {
      const EngineOptions options{.optimizer = optimizer,
                                  .learning_rate = optimizer[0] == 's' ? 0.3 : 1e-3,
                                  .gradients = true};
      expect_equals_reference(worst, variant(), with(options, layout), layout.ranks);
    }
  }
}

}  // namespace
}  // namespace orthant::testing
