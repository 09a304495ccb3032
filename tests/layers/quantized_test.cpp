// SPDX-License-Identifier: Apache-2.0
// Products with weights in few bits, which give what products with their elements do; and which
// modules are held so.
#include <gmock/gmock.h>

#include "base/config/config.h"
#include "base/context.h"
#include "layers/embedding.h"
#include "layers/grouped_linear.h"
#include "layers/head.h"
#include "layers/linear.h"
#include "tests/layers/layer_testing.h"

namespace orthant::testing {
namespace {

using ::testing::HasSubstr;

QuantizationConfig config_of(const std::string& yaml) {
  return parse_config<QuantizationConfig>(yaml, "quantization").config;
}

LayerBuilder quantized_builder(ParameterStore& store, const std::string& yaml,
                               const std::string& lora = "{rank: 2}") {
  LayerBuilder build = builder_of(store);
  const auto rules =
      std::make_shared<const LoraRules>(parse_config<LoraConfig>(lora, "lora").config);
  build.adapters = std::make_shared<AdapterSet>(only_adapter(rules), 5);
  build.quantization = std::make_shared<const QuantizationRules>(config_of(yaml), rules);
  return build;
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

class QuantizedLayer : public ::testing::TestWithParam<const char*> {
 protected:
  // A layer and its like over the elements of its weight: the same bits, forward and backward, and
  // gradients by what trains that finite differences have.
  void check(const Shape& shape) {
    ParameterStore store, plain;
    const LayerBuilder build = quantized_builder(store, concat("{format: ", GetParam(), "}"));
    LayerBuilder whole = builder_of(plain);
    whole.adapters = build.adapters;
    const Tensor x = random_tensor(shape, DType::kF64, "x");
    const std::function<Var(const Var&)> run = make_(build), run_whole = make_(whole);
    fill_randomly(store);
    const auto frozen = [](const std::string& name) { return !is_adapter_tensor(name); };
    store.freeze(frozen), plain.freeze(frozen);
    int quantized = 0;
    for (size_t i = 0; i < store.all().size(); ++i) {
      quantized += store.all()[i]->is_quantized();
      copy(store.all()[i]->elements(), plain.all()[i]->value());
      plain.all()[i]->value_changed();
    }
    EXPECT_EQ(quantized, 1);
    EXPECT_EQ(run(Var(x)).value().to_doubles(), run_whole(Var(x)).value().to_doubles());
    check_gradients(store, x, run);
  }
  std::function<std::function<Var(const Var&)>(const LayerBuilder&)> make_;
};

TEST_P(QuantizedLayer, PartsOfAFusedProduct) {
  make_ = [](const LayerBuilder& build) {
    const auto layer = std::make_shared<Linear>(
        build, "qkv", 70,
        std::vector<WeightPart>{{"q_proj.weight", 4}, {"k_proj.weight", 2}, {"v_proj.weight", 3}},
        MatrixOptions{.dtype = DType::kF64});
    return [layer](const Var& x) { return layer->forward(x); };
  };
  check({3, 70});
}

TEST_P(QuantizedLayer, Experts) {
  const RowOffsets offsets =
      std::make_shared<const std::vector<int64_t>>(std::vector<int64_t>{0, 2, 2, 7});
  make_ = [&](const LayerBuilder& build) {
    const auto layer = std::make_shared<GroupedLinear>(
        build, "gate_up", "experts.", ExpertShard{.count = 3}, InnerDim::kOut, 9,
        std::vector<WeightPart>{{"gate_proj.weight", 5}, {"up_proj.weight", 5}});
    return [layer, offsets](const Var& x) { return layer->forward(x, offsets); };
  };
  check({7, 9});
}

INSTANTIATE_TEST_SUITE_P(Formats, QuantizedLayer, ::testing::Values("nf4", "int8"),
                         [](const auto& info) { return std::string(info.param); });

// What it is held in is all that is held, but while a product runs.
TEST(QuantizedTest, HoldsNoElementsBetweenProducts) {
  const auto held = [](MemoryCategory category) { return context().ledger->bytes(category); };
  ParameterStore store;
  LayerBuilder build = quantized_builder(store, "{format: nf4}", "{rank: 2, target_modules: [x]}");
  build.dtype = DType::kBF16;
  const int64_t before = held(MemoryCategory::kParameters);
  const Linear layer(build, "o", 256, {{"o_proj.weight", 128}}, {.dtype = DType::kBF16});
  const int64_t bytes = 128 * 128 + 128 * 4 + 4 * (1 + 2);
  EXPECT_EQ(held(MemoryCategory::kParameters) - before, bytes);
  store.freeze([](const std::string&) { return true; });
  store.initialize(3);
  const int64_t workspace = held(MemoryCategory::kWorkspace);
  const Tensor x = random_tensor({5, 256}, DType::kBF16, "x");
  context().ledger->reset_peaks();
  const Var leaf = Var::leaf(x);
  const Var y = layer.forward(leaf);
  backward(y, Tensor::like(y.value()));
  EXPECT_EQ(held(MemoryCategory::kParameters) - before, bytes);
  EXPECT_EQ(held(MemoryCategory::kWorkspace), workspace);
  // The elements, and the same packed.
  EXPECT_EQ(context().ledger->peak_bytes(MemoryCategory::kWorkspace) - workspace,
            2 * (2 * 128 * 256));
}

TEST(QuantizedTest, HeadEmbeddingRouterAndSavedModulesStayAsTheyAre) {
  ParameterStore store;
  const LayerBuilder build =
      quantized_builder(store, "{format: int8, exclude_modules: [down_proj]}",
                        "{rank: 2, modules_to_save: [up_proj]}");
  const Embedding embedding(build, "model.embed_tokens.weight", 6, 8);
  const Head head(build, "lm_head.weight", 6, 8);
  const Linear router(build, "gate", 8, {{"model.layers.0.mlp.gate.weight", 4}},
                      {.dtype = DType::kF64});
  const Linear down(build, "down", 8, {{"model.layers.0.mlp.down_proj.weight", 4}},
                    {.dtype = DType::kF64});
  const Linear up(build, "up", 8, {{"model.layers.0.mlp.up_proj.weight", 4}},
                  {.dtype = DType::kF64});
  for (const auto& parameter : store.all())
    EXPECT_FALSE(parameter->is_quantized()) << parameter->name();
  const Linear gate(build, "gate_proj", 8, {{"model.layers.0.mlp.gate_proj.weight", 4}},
                    {.dtype = DType::kF64});
  EXPECT_EQ(gate.weight().parameter().quantization(), Quantization::kInt8);
}

TEST(QuantizedTest, WhatCannotBeIsSaid) {
  const auto refused = [](const std::string& yaml) {
    return message_of([&] { config_of(yaml).validate(); });
  };
  EXPECT_THAT(refused("{format: nf4, target_modules: [q_proj, lm_head]}"),
              HasSubstr("target_modules: lm_head means lm_head, which is never quantised"));
  EXPECT_THAT(refused("{format: nf4, target_modules: ['.*']}"), HasSubstr("never quantised"));
  EXPECT_THAT(refused("{exclude_modules: [q_proj]}"), HasSubstr("want nf4 or int8"));
  EXPECT_THAT(refused("{format: nf4, exclude_modules: ['(']}"),
              HasSubstr("exclude_modules: '(' is no regular expression"));
  EXPECT_THAT(message_of([] { config_of("{format: nf5}"); }), HasSubstr("nf4"));
  ParameterStore store;
  const LayerBuilder build = quantized_builder(store, "{format: nf4, exclude_modules: [k_proj]}");
  EXPECT_THAT(message_of([&] {
                const Linear layer(build, "qkv", 8, {{"q_proj.weight", 4}, {"k_proj.weight", 2}},
                                   {.dtype = DType::kF64});
              }),
              HasSubstr("q_proj.weight and k_proj.weight are computed together"));
}

}  // namespace
}  // namespace orthant::testing
