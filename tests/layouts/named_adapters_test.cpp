// SPDX-License-Identifier: Apache-2.0
// Several adapters in one batch: each request gets what its own adapter alone, or the model alone,
// would have given it; on layouts as on one rank.
#include <gtest/gtest.h>

#include <algorithm>

#include "model/decoder.h"
#include "parallel/comm/threads/run_ranks.h"
#include "tests/layouts/engine_run.h"
#include "tests/tensor/op_case.h"
#include "trainer/pretrain_engine.h"
#include "trainer/weight_source.h"

namespace orthant::testing {
namespace {

struct Written {
  std::vector<int32_t> tokens;
  std::vector<std::vector<double>> logits;  // by place; on ranks that hold the last stage
};

std::shared_ptr<const LoraRules> rules(int64_t rank, const std::vector<const char*>& modules) {
  LoraConfig lora{.rank = rank, .alpha = 5};
  for (const char* module : modules) lora.target_modules.push_back({module});
  return std::make_shared<const LoraRules>(lora);
}

// "poet" is beside everything, "clerk" beside a part, with another rank.
NamedAdapters adapters() {
  return {{"poet", rules(3, {"all-linear", "mlp.gate", "lm_head", "embed_tokens"})},
          {"clerk", rules(5, {"q_proj", "o_proj", "kv_b_proj", "down_proj", "lm_head"})}};
}

// An adapter's values go by its name, whether others stand beside it or not.
WeightSource weights(const Variant& variant, const std::string& only) {
  return given_weights([&variant, only](const LogicalTensor& t) {
    if (!is_adapter_tensor(t.name))
      return Tensor::from(t.global_shape, initial_weights(variant).at(t.name), DType::kF64);
    const std::string module = module_of(t.name), kind = t.name.substr(module.size() + 1);
    return random_tensor(t.global_shape, DType::kF64,
                         only.empty() ? t.name : adapter_tensor(module, kind, only), 0.25);
  });
}

std::vector<Written> write_on(const Variant& variant, const LayoutOptions& options,
                              const Group& world, const NamedAdapters& named,
                              const std::string& only, const std::vector<DecodeRequest>& requests) {
  const RunPlan plan = plan_of(variant, options, world.size());
  RoleOptions role_of = role_options(plan, Device{});
  role_of.training.reset();
  role_of.stages.adapters = named;
  const RunConfig& config = plan.config();
  const Role role(role_of,
                  make_rank_groups(world, config.parallel, config.model.num_key_value_heads),
                  weights(variant, only));
  std::vector<Written> written(requests.size());
  DecodeCallbacks callbacks;
  callbacks.choose = [&](int64_t request, int64_t, const std::vector<double>& logits) {
    written[static_cast<size_t>(request)].logits.push_back(logits);
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  };
  const auto tokens = role.pipeline().decoder({.max_sequences = 4}).run(requests, callbacks);
  for (size_t i = 0; i < tokens.size(); ++i) written[i].tokens = tokens[i];
  return written;
}

// Some with one prompt and different adapters; more than there are places.
const std::vector<DecodeRequest> kRequests = {{{3, 1, 4}, 5, 0},       {{3, 1, 4}, 5, 1},
                                              {{3, 1, 4}, 5, -1},      {{3, 1, 4}, 3, 0},
                                              {{5, 9, 2, 6, 5}, 6, 1}, {{7, 7}, 4, -1}};

const std::vector<Written>& alone(const Variant& variant, const std::string& precision) {
  static std::map<std::string, std::vector<Written>> known;
  auto [at, is_new] = known.try_emplace(variant.name + precision);
  if (!is_new) return at->second;
  for (DecodeRequest request : kRequests) {
    NamedAdapters own;
    std::string name;
    if (request.adapter >= 0) {
      const NamedAdapter adapter = adapters()[static_cast<size_t>(request.adapter)];
      own = only_adapter(adapter.rules);
      name = adapter.name;
    }
    request.adapter = -1;
    at->second.push_back(
        write_on(variant, {.precision = precision}, Group::self(), own, name, {request}).front());
  }
  return at->second;
}

void expect_same(const std::vector<Written>& got, const std::vector<Written>& want,
                 double tolerance, const std::string& what) {
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(got[i].tokens, want[i].tokens) << what << " request " << i;
    if (got[i].logits.empty()) continue;  // the last stage is elsewhere
    ASSERT_EQ(got[i].logits.size(), want[i].logits.size());
    for (size_t n = 0; n < want[i].logits.size(); ++n)
      for (size_t v = 0; v < want[i].logits[n].size(); ++v)
        ASSERT_NEAR(got[i].logits[n][v], want[i].logits[n][v], tolerance)
            << what << " request " << i << " token " << n;
  }
}

TEST(NamedAdapters, InOneBatchHaveTheBitsOfEachAlone) {
  for (const char* name : {"dense_tied_deep", "moe", "moe_v2_lite"}) {
    const Variant& variant = find_variant(name);
    for (const char* precision : {"fp64", "fp32", "bf16"}) {
      const std::vector<Written>& want = alone(variant, precision);
      EXPECT_NE(want[0].logits, want[1].logits);
      EXPECT_NE(want[0].logits, want[2].logits);
      expect_same(
          write_on(variant, {.precision = precision}, Group::self(), adapters(), "", kRequests),
          want, 0.0, concat(name, " ", precision));
    }
  }
}

TEST(NamedAdapters, OnLayoutsAreThoseOfOneRank) {
  struct Layout {
    int ranks;
    LayoutOptions options;
    double tolerance;
  };
  const std::vector<Layout> layouts = {
      {2, {.pipeline_parallel_size = 2}, 0.0},
      {2, {.expert_parallel_size = 2}, 0.0},
      {2, {.context_parallel_size = 2, .expert_parallel_size = 2}, 0.0},
      {2, {.tensor_parallel_size = 2}, 1e-11},
      {2, {.tensor_parallel_size = 2, .sequence_parallel = false}, 1e-11},
      {4,
       {.tensor_parallel_size = 2, .expert_parallel_size = 2, .expert_tensor_parallel_size = 2},
       1e-11}};
  for (const char* name : {"moe_deep", "moe_v2_lite"}) {
    const Variant& variant = find_variant(name);
    const std::vector<Written>& want = alone(variant, "fp64");
    for (const Layout& layout : layouts)
      run_ranks(layout.ranks, [&](const Group& world) {
        expect_same(write_on(variant, layout.options, world, adapters(), "", kRequests), want,
                    layout.tolerance, name);
      });
  }
}

// A rank whose experts work for others' adapters while it has no text of its own.
TEST(NamedAdapters, OfOtherRanksReachTheExperts) {
  const Variant& variant = find_variant("moe");
  const std::vector<Written>& want = alone(variant, "fp32");
  run_ranks(2, [&](const Group& world) {
    const auto own = world.rank() == 0 ? kRequests : std::vector<DecodeRequest>{};
    expect_same(write_on(variant, {.precision = "fp32", .expert_parallel_size = 2}, world,
                         adapters(), "", own),
                world.rank() == 0 ? want : std::vector<Written>{}, 0.0, "rank of experts");
  });
}

}  // namespace
}  // namespace orthant::testing
