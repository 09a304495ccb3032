// SPDX-License-Identifier: Apache-2.0
// Every linear map of every family is adapted by all-linear, or is one of those that want a name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "layers/lora_config.h"
#include "model/family.h"
#include "model/transformer.h"
#include "tests/trainer/hub_folder_testing.h"
#include "trainer/hub/hub_config.h"
#include "trainer/hub/hub_model.h"

namespace orthant::testing {
namespace {

bool wants_a_name(const std::string& module) {
  return module.ends_with(".mlp.gate") || module == "lm_head" || module == "model.embed_tokens";
}

// Modules that the model has adapters beside.
std::set<std::string> adapted(const RunConfig& config, const LoraConfig& lora) {
  ParameterStore store;
  const Transformer model({.config = config.model,
                           .moe = config.moe,
                           .dtype = config.precision,
                           .device = {DeviceType::kMeta, 0},
                           .adapters = only_adapter(std::make_shared<const LoraRules>(lora))},
                          store);
  std::set<std::string> modules;
  for (const auto& parameter : store.all())
    for (const LogicalTensor& t : parameter->logical())
      if (is_adapter_tensor(t.name)) modules.insert(module_of(t.name));
  return modules;
}

void expect_all_linear(const RunConfig& config) {
  const std::set<std::string> by_default = adapted(config, {.rank = 2});
  const std::set<std::string> all =
      adapted(config, {.rank = 2, .target_modules = {{"all-linear"}, {"mlp.gate"}}});
  int64_t matrices = 0;
  for (const auto& [name, shape] : logical_tensors(config)) {
    if (shape.rank() != 2) continue;
    ++matrices;
    const std::string module = module_of(name);
    EXPECT_EQ(by_default.contains(module), !wants_a_name(module)) << module;
    EXPECT_EQ(all.contains(module), !wants_a_name(module) || module.ends_with(".mlp.gate"))
        << module;
  }
  EXPECT_GT(matrices, 10);
}

RunConfig config_of_json(const Json& config) {
  return parse_hub_config(config.dump(), {.label = "test", .name = "test", .tokenizer = "byte"})
      .config;
}
RunConfig config_of(const std::string& model) {
  return config_of_json(golden_model(model)["config"]);
}

class LinearModules : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Families, LinearModules, ::testing::ValuesIn(kGoldenModels),
                         [](const auto& info) { return info.param; });

TEST_P(LinearModules, AreAdaptedOrNamedAsExcluded) { expect_all_linear(config_of(GetParam())); }

TEST(LinearModulesOf, MultiTokenPredictionAreAdapted) {
  RunConfig config = config_of("deepseek_v3");
  config.model.num_nextn_predict_layers = 1;
  expect_all_linear(config);
  EXPECT_TRUE(adapted(config, {.rank = 2}).contains("model.layers.3.eh_proj"));
}

// A family that is added must be tried here too.
TEST(LinearModulesOf, EveryFamilyOfTheTableAreTried) {
  std::set<std::string> tried;
  for (const std::string& model : kGoldenModels)
    tried.insert(golden_model(model)["config"]["model_type"]);
  Json kimi = golden_model("deepseek_v3")["config"];  // whose layers it has
  kimi["model_type"] = "kimi_k2";
  expect_all_linear(config_of_json(kimi));
  tried.insert("kimi_k2");
  for (const std::string& family : built_families())
    EXPECT_TRUE(tried.contains(family) || family == kCustomFamily) << family;
}

}  // namespace
}  // namespace orthant::testing
