// SPDX-License-Identifier: Apache-2.0
// Decoding on layouts: the tokens of one rank, and where products are not cut the same logits'
// bits.
#include <gtest/gtest.h>

#include <algorithm>

#include "parallel/comm/threads/run_ranks.h"
#include "tests/layouts/decoding_run.h"

namespace orthant::testing {
namespace {

const Written& alone(const Variant& variant, const std::string& precision) {
  static std::map<std::string, Written> known;
  auto [at, is_new] = known.try_emplace(variant.name + precision);
  if (!is_new) return at->second;
  at->second = write_on(variant, {.precision = precision}, Group::self());
  const size_t lengths[] = {6, 4, 12, 1, 0, 14};  // the second ends by itself
  for (size_t r = 0; r < kDecodeRequests; ++r)
    EXPECT_EQ(at->second.tokens[r].size(), lengths[r]) << "request " << r;
  return at->second;
}

void expect_near(const Written& got, const Written& want, double tolerance) {
  ASSERT_EQ(got.logits.size(), want.logits.size());
  for (size_t r = 0; r < got.logits.size(); ++r) {
    ASSERT_EQ(got.logits[r].size(), want.logits[r].size());
    for (size_t i = 0; i < got.logits[r].size(); ++i)
      for (size_t v = 0; v < got.logits[r][i].size(); ++v)
        ASSERT_NEAR(got.logits[r][i][v], want.logits[r][i][v], tolerance);
  }
}

struct Layout {
  int ranks;
  LayoutOptions options;
  bool same_bits = true;
};

void expect_one_rank(const Variant& variant, const Layout& layout, const std::string& precision) {
  const Written& want = alone(variant, precision);
  initial_weights(variant);
  LayoutOptions options = layout.options;
  options.precision = precision;
  run_ranks(layout.ranks, [&](const Group& world) {
    const Written got = write_on(variant, options, world);
    EXPECT_EQ(got.tokens, want.tokens) << variant.name << " rank " << world.rank();
    const bool chooses = std::any_of(got.logits.begin(), got.logits.end(),
                                     [](const auto& of_request) { return !of_request.empty(); });
    if (!chooses) {
      EXPECT_GT(options.pipeline_parallel_size, 1);
    } else if (layout.same_bits) {
      EXPECT_EQ(got.logits, want.logits) << variant.name << " rank " << world.rank();
    } else {
      expect_near(got, want, 1e-12);
    }
  });
}

TEST(Decoding, OnPipelinesHasTheBitsOfOneRank) {
  for (const char* name : {"moe_deep", "dense_tied_deep"}) {
    for (const char* precision : {"fp64", "bf16"}) {
      for (const Layout& layout : std::vector<Layout>{
               {2, {.pipeline_parallel_size = 2}},
               {4, {.pipeline_parallel_size = 4}},
               {8, {.pipeline_parallel_size = 8}},
               {2, {.pipeline_parallel_size = 2, .pipeline_schedule = "interleaved"}},
               {4, {.pipeline_parallel_size = 4, .pipeline_schedule = "interleaved"}},
               {2, {.pipeline_parallel_size = 2, .pipeline_schedule = "dualpipev"}},
               {4, {.pipeline_parallel_size = 4, .pipeline_schedule = "dualpipev"}}})
        expect_one_rank(find_variant(name), layout, precision);
    }
  }
}

TEST(Decoding, WithExpertsOnOtherRanksHasTheBitsOfOneRank) {
  for (const char* name : {"moe", "moe_v3", "moe_deep"}) {
    for (const Layout& layout :
         std::vector<Layout>{{2, {.expert_parallel_size = 2}},
                             {4, {.expert_parallel_size = 4}},
                             {2, {.context_parallel_size = 2, .expert_parallel_size = 2}},
                             {4, {.pipeline_parallel_size = 2, .expert_parallel_size = 2}}})
      expect_one_rank(find_variant(name), layout, "fp32");
  }
}

// Every context-parallel rank decodes the whole.
TEST(Decoding, OnContextParallelRanksHasTheBitsOfOneRank) {
  for (const char* name : {"moe", "dense_gqa"})
    for (const char* kind : {"ring", "ulysses"})
      expect_one_rank(find_variant(name),
                      {2, {.context_parallel_size = 2, .context_parallel_kind = kind}}, "fp32");
}

// Latent caches, in the form that is close and in the one with less work.
TEST(Decoding, OfLatentsOnLayoutsIsThatOfOneRank) {
  for (const Layout& layout :
       std::vector<Layout>{{2, {.pipeline_parallel_size = 2}},
                           {2, {.expert_parallel_size = 2}},
                           {2, {.context_parallel_size = 2}},
                           {2, {.tensor_parallel_size = 2}, false},
                           {4, {.tensor_parallel_size = 4, .sequence_parallel = false}, false},
                           {4, {.tensor_parallel_size = 2, .pipeline_parallel_size = 2}, false}})
    for (const char* name : {"moe_v2_lite", "moe_v3"})
      expect_one_rank(find_variant(name), layout, "fp64");
}

TEST(Decoding, OnTensorParallelRanksAndMixturesIsThatOfOneRank) {
  for (const bool sp : {true, false}) {
    for (const Layout& layout : std::vector<Layout>{
             {2, {.tensor_parallel_size = 2, .sequence_parallel = sp}},
             {4, {.tensor_parallel_size = 2, .sequence_parallel = sp, .context_parallel_size = 2}},
             {4, {.tensor_parallel_size = 2, .sequence_parallel = sp, .pipeline_parallel_size = 2}},
             {8,
              {.tensor_parallel_size = 2,
              .sequence_parallel = sp,
              .context_parallel_size = 2,
              .pipeline_parallel_size = 2,
              .pipeline_schedule = "interleaved",
              .expert_parallel_size = 2,
              .expert_tensor_parallel_size = 2}}}) {
      Layout near = layout;
      near.same_bits = false;
      expect_one_rank(find_variant("moe_deep"), near, "fp64");
    }
  }
}

// Ranks that hold each other's experts write on from different prompts, one of them from none: all
// go on until the last has finished.
TEST(Decoding, RanksWithOtherSequencesWaitForEachOther) {
  const Variant& variant = find_variant("moe_deep");
  const Written& want = alone(variant, "fp32");
  initial_weights(variant);
  const size_t cuts[] = {0, 2, 2, 3, kDecodeRequests};
  for (const int pp : {1, 2}) {
    const LayoutOptions options{
        .precision = "fp32", .pipeline_parallel_size = pp, .expert_parallel_size = 4};
    run_ranks(4 * pp, [&](const Group& world) {
      const auto data = static_cast<size_t>(world.rank() % 4);
      const Written got = write_on(variant, options, world, cuts[data], cuts[data + 1]);
      const std::vector<std::vector<int32_t>> own(
          want.tokens.begin() + static_cast<ptrdiff_t>(cuts[data]),
          want.tokens.begin() + static_cast<ptrdiff_t>(cuts[data + 1]));
      EXPECT_EQ(got.tokens, own) << "rank " << world.rank();
    });
  }
}

}  // namespace
}  // namespace orthant::testing
