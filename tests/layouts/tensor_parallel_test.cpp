// SPDX-License-Identifier: Apache-2.0
// Tensor parallelism beyond what grid_test.cpp compares: bits over data-parallel sizes, decoding.
#include <gtest/gtest.h>

#include "parallel/comm/threads/run_ranks.h"
#include "tests/layouts/engine_run.h"
#include "trainer/pretrain_engine.h"

namespace orthant::testing {
namespace {

class TensorParallelLayouts : public ::testing::TestWithParam<std::string> {
 protected:
  const Variant& variant() const { return find_variant(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Models, TensorParallelLayouts,
                         ::testing::Values("dense_gqa", "dense_tied_deep", "moe",
                                           "moe_normalized_tied", "moe_deep", "moe_v2", "moe_v3"),
                         [](const auto& param) { return param.param; });

// Also where the data-parallel size differs: its ranks join the tree of lanes first.
TEST_P(TensorParallelLayouts, DataParallelSizesAndZeroGiveTheSameBits) {
  for (const char* precision : {"fp32", "bf16"}) {
    for (const bool sp : {true, false}) {
      LayoutOptions options{.precision = precision, .zero_stage = 0, .gradients = true};
      options.tensor_parallel_size = 2;
      options.sequence_parallel = sp;
      const EngineRun want = run_on_threads(variant(), options, 2);
      for (const int ranks : {2, 4, 8}) {
        for (const int zero : {0, 1}) {
          options.zero_stage = zero;
          const EngineRun got = run_on_threads(variant(), options, ranks);
          EXPECT_EQ(first_bit_difference(bits_of(got), bits_of(want)), "")
              << precision << " ranks " << ranks << " zero " << zero;
        }
      }
    }
  }
}

// A row for three of four ranks, none for the last.
TEST(TensorParallelEngine, DecodesLikeOneRank) {
  for (const char* name : {"moe", "dense_gqa"}) {
    const Variant& variant = find_variant(name);
    const auto decode = [&](const Group& world, bool sp) {
      LayoutOptions options{.precision = "fp64"};
      options.tensor_parallel_size = world.size();
      options.sequence_parallel = sp;
      Engine engine = pretrain_engine(plan_of(variant, options, world.size()), world);
      KvCache cache = engine.role().model().make_cache(1);
      std::vector<double> logits;
      for (const std::vector<int32_t>& ids : {std::vector<int32_t>{3, 1, 4}, {1}, {5, 9}}) {
        const std::vector<double> next = engine.role().model().decode({ids}, cache).to_doubles();
        logits.insert(logits.end(), next.begin(), next.end());
      }
      return logits;
    };
    const std::vector<double> want = decode(Group::self(), true);
    for (const bool sp : {true, false}) {
      run_ranks(4, [&](const Group& world) {
        const std::vector<double> got = decode(world, sp);
        ASSERT_EQ(got.size(), want.size());
        for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12);
      });
    }
  }
}

}  // namespace
}  // namespace orthant::testing
