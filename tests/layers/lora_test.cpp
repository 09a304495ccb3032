// SPDX-License-Identifier: Apache-2.0
// Adapters beside products, embeddings and the head, against plain loops, with gradients against
// finite differences; and which modules get one.
#include <gmock/gmock.h>

#include "base/config/config.h"
#include "layers/embedding.h"
#include "layers/grouped_linear.h"
#include "layers/head.h"
#include "layers/linear.h"
#include "tests/layers/layer_testing.h"

namespace orthant::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

// Rules as users write the block.
std::shared_ptr<const LoraRules> rules_of(const std::string& yaml) {
  return std::make_shared<const LoraRules>(parse_config<LoraConfig>(yaml, "lora").config);
}

LayerBuilder adapted_builder(ParameterStore& store, const std::string& yaml) {
  LayerBuilder build = builder_of(store);
  build.adapters = std::make_shared<AdapterSet>(only_adapter(rules_of(yaml)), 5);
  return build;
}

bool is_base(const std::string& name) { return !is_adapter_tensor(name); }

std::vector<std::string> names_in(const ParameterStore& store) {
  std::vector<std::string> names;
  for (const auto& parameter : store.all())
    for (const LogicalTensor& t : parameter->logical()) names.push_back(t.name);
  return names;
}

Values values_of_logical(const ParameterStore& store, const std::string& name) {
  for (const auto& parameter : store.all())
    for (const LogicalTensor& t : parameter->logical())
      if (t.name == name) return parameter->logical_part(parameter->value(), t).to_doubles();
  ADD_FAILURE() << "no tensor " << name;
  return {};
}

// scale * (x A^T) B^T of a module.
Values low_rank_of(const ParameterStore& store, const std::string& module, const Values& x,
                   size_t in, size_t rank, size_t out, double scale) {
  Values y = times_transposed(
      times_transposed(x, values_of_logical(store, module + ".lora_A.weight"), in, rank),
      values_of_logical(store, module + ".lora_B.weight"), rank, out);
  for (double& value : y) value *= scale;
  return y;
}

TEST(LoraTest, StandsBesidePartsOfAFusedProduct) {
  ParameterStore store;
  const LayerBuilder build = adapted_builder(
      store,
      "{rank: 2, alpha: 3, target_modules: [q_proj, v_proj], patterns: [{modules: v_proj, rank: "
      "4}]}");
  const Linear layer(build, "qkv", 5,
                     {{"q_proj.weight", 4}, {"k_proj.weight", 2}, {"v_proj.weight", 3}},
                     {.dtype = DType::kF64, .has_bias = true});
  EXPECT_FALSE(layer.is_plain());
  EXPECT_THAT(
      names_in(store),
      UnorderedElementsAre("q_proj.weight", "k_proj.weight", "v_proj.weight", "q_proj.bias",
                           "k_proj.bias", "v_proj.bias", "q_proj.lora_A.weight",
                           "v_proj.lora_A.weight", "q_proj.lora_B.weight", "v_proj.lora_B.weight"));
  fill_randomly(store);
  store.freeze(is_base);
  const Tensor x = random_tensor({3, 5}, DType::kF64, "x");
  Values want = times_transposed(x.to_doubles(), values_of(store, "qkv"), 5, 9);
  const Values q = low_rank_of(store, "q_proj", x.to_doubles(), 5, 2, 4, 1.5);
  const Values v = low_rank_of(store, "v_proj", x.to_doubles(), 5, 4, 3, 0.75);
  const Values bias = values_of(store, "qkv.bias");
  for (size_t r = 0; r < 3; ++r) {
    for (size_t i = 0; i < 9; ++i) want[r * 9 + i] += bias[i];
    for (size_t i = 0; i < 4; ++i) want[r * 9 + i] += q[r * 4 + i];
    for (size_t i = 0; i < 3; ++i) want[r * 9 + 6 + i] += v[r * 3 + i];
  }
  expect_near(layer.forward(Var(x)).value(), want);
  // The base is frozen: gradients by x and by the adapters' weights alone.
  EXPECT_FALSE(layer.weight().trainable());
  check_gradients(store, x, [&](const Var& in) { return layer.forward(in); });
}

TEST(LoraTest, StandsBesideEveryExpert) {
  ParameterStore store;
  const LayerBuilder build = adapted_builder(store, "{rank: 2, use_rslora: true, alpha: 3}");
  const GroupedLinear layer(build, "gate_up", "experts.", {.count = 3}, InnerDim::kOut, 4,
                            {{"gate_proj.weight", 5}, {"up_proj.weight", 5}});
  fill_randomly(store);
  store.freeze(is_base);
  const Tensor x = random_tensor({7, 4}, DType::kF64, "x");
  const RowOffsets offsets =
      std::make_shared<const std::vector<int64_t>>(std::vector<int64_t>{0, 2, 2, 7});
  Values want;
  for (size_t e = 0; e < 3; ++e) {
    const Values rows = x.slice((*offsets)[e], (*offsets)[e + 1]).to_doubles();
    Values part = times_transposed(rows, values_of(store, "gate_up"), 4, 10, e * 10 * 4);
    for (size_t p = 0; p < 2; ++p) {
      const std::string module = concat("experts.", e, p == 0 ? ".gate_proj" : ".up_proj");
      const Values added = low_rank_of(store, module, rows, 4, 2, 5, 3.0 / std::sqrt(2.0));
      for (size_t i = 0; i < added.size(); ++i) part[i / 5 * 10 + p * 5 + i % 5] += added[i];
    }
    want.insert(want.end(), part.begin(), part.end());
  }
  expect_near(layer.forward(Var(x), offsets).value(), want);
  check_gradients(store, x, [&](const Var& in) { return layer.forward(in, offsets); });
}

// Rows of W + scale B A brought to the magnitudes; which begin as the rows' norms, so that the
// product is the base's.
TEST(LoraTest, DoraBringsRowsToTheirMagnitudes) {
  for (const bool grouped : {false, true}) {
    ParameterStore store;
    const LayerBuilder build =
        adapted_builder(store, "{rank: 2, alpha: 3, use_dora: true, exclude_modules: [k_proj]}");
    const Tensor x = random_tensor({6, 5}, DType::kF64, "x");
    std::function<Var(const Var&)> forward;
    std::vector<std::string> modules = {"q_proj", "v_proj"};
    if (grouped) {
      const auto layer = std::make_shared<GroupedLinear>(
          build, "w", "experts.", ExpertShard{.count = 2}, InnerDim::kOut, 5,
          std::vector<WeightPart>{{"gate_proj.weight", 4}, {"k_proj.weight", 3}});
      const RowOffsets offsets =
          std::make_shared<const std::vector<int64_t>>(std::vector<int64_t>{0, 2, 6});
      forward = [=](const Var& in) { return layer->forward(in, offsets); };
      modules = {"experts.0.gate_proj", "experts.1.gate_proj"};
    } else {
      const auto layer = std::make_shared<Linear>(
          build, "w", 5,
          std::vector<WeightPart>{{"q_proj.weight", 4}, {"k_proj.weight", 2}, {"v_proj.weight", 3}},
          MatrixOptions{.dtype = DType::kF64});
      forward = [=](const Var& in) { return layer->forward(in); };
    }
    store.initialize(3);
    const Values base = values_of(store, "w");
    const auto product = [&](const Values& w) {
      if (!grouped) return times_transposed(x.to_doubles(), w, 5, 9);
      Values y = times_transposed(x.slice(0, 2).to_doubles(), w, 5, 7);
      const Values rest = times_transposed(x.slice(2, 6).to_doubles(), w, 5, 7, 35);
      y.insert(y.end(), rest.begin(), rest.end());
      return y;
    };
    build.adapters->set_magnitudes();
    expect_near(forward(Var(x)).value(), product(base), "at first");
    fill_randomly(store);
    Values w = values_of(store, "w");
    for (const std::string& module : modules) {
      const Values a = values_of_logical(store, module + ".lora_A.weight");
      const Values b = values_of_logical(store, module + ".lora_B.weight");
      const Values m = values_of_logical(store, module + ".lora_magnitude_vector");
      const size_t first = module == "v_proj" ? 6 : module == "experts.1.gate_proj" ? 7 : 0;
      for (size_t o = 0; o < m.size(); ++o) {
        double norm = 0;
        for (size_t i = 0; i < 5; ++i) {
          double& value = w[(first + o) * 5 + i];
          value += 1.5 * (b[o * 2] * a[i] + b[o * 2 + 1] * a[5 + i]);
          norm += value * value;
        }
        for (size_t i = 0; i < 5; ++i) w[(first + o) * 5 + i] *= m[o] / std::sqrt(norm);
      }
    }
    expect_near(forward(Var(x)).value(), product(w), "with adapters");
  }
}

TEST(LoraTest, ExpertsOfALayerAreAdaptedAlike) {
  ParameterStore store;
  const LayerBuilder build =
      adapted_builder(store, "{rank: 2, target_modules: ['experts.1.down_proj']}");
  try {
    const GroupedLinear layer(build, "down", "experts.", {.count = 3}, InnerDim::kIn, 4,
                              {{"down_proj.weight", 5}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("experts.0.down_proj.weight and experts.1.down_proj"));
  }
}

TEST(LoraTest, StandsBesideEmbeddingAndHead) {
  ParameterStore store;
  const LayerBuilder build =
      adapted_builder(store, "{rank: 2, alpha: 5, target_modules: [embed_tokens, lm_head]}");
  const Embedding embedding(build, "embed_tokens.weight", 6, 4);
  const Head head(build, "lm_head", 6, embedding.weight());  // tied
  fill_randomly(store);
  store.freeze(is_base);
  const Tensor ids = Tensor::from_i32({3}, std::vector<int32_t>{5, 0, 5});
  const Values table = values_of(store, "embed_tokens.weight");
  const Values a = values_of_logical(store, "embed_tokens.lora_embedding_A");
  const Values b = values_of_logical(store, "embed_tokens.lora_embedding_B");
  Values want;
  for (const size_t id : {5, 0, 5}) {
    for (size_t i = 0; i < 4; ++i) {
      want.push_back(table[id * 4 + i]);
      for (size_t k = 0; k < 2; ++k) want.back() += 2.5 * a[id * 2 + k] * b[i * 2 + k];
    }
  }
  const Var rows = embedding.forward(ids);
  expect_near(rows.value(), want, "embedding");
  Values logits = times_transposed(want, table, 4, 6);
  const Values added = low_rank_of(store, "lm_head", want, 4, 2, 6, 2.5);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] += added[i];
  expect_near(head.logits(rows.value()), logits, "logits");
  const Tensor labels = Tensor::from_i32({3}, std::vector<int32_t>{1, 5, -1});
  check_gradients(
      store, random_tensor({3, 4}, DType::kF64, "x"),
      [&](const Var& x) { return head.loss(add(x, embedding.forward(ids)), labels).sum; },
      /*is_loss=*/true);
}

// Adapters give nothing at first, so the model is the base to the bit; A is drawn, B is 0.
TEST(LoraTest, BeginsAsTheBase) {
  const Tensor x = random_tensor({3, 5}, DType::kF64, "x");
  const auto run = [&](const std::string& yaml) {
    ParameterStore store;
    const LayerBuilder build = adapted_builder(store, yaml);
    const Linear layer(build, "o", 5, {{"o_proj.weight", 4}}, {.dtype = DType::kF64});
    store.initialize(3);
    if (!layer.is_plain()) {
      for (const double value : values_of_logical(store, "o_proj.lora_A.weight")) {
        EXPECT_NE(value, 0.0);
        EXPECT_LE(std::abs(value), 1.0 / std::sqrt(5.0));
      }
      EXPECT_THAT(values_of_logical(store, "o_proj.lora_B.weight"), ::testing::Each(0.0));
    }
    return layer.forward(Var(x)).value().to_doubles();
  };
  EXPECT_EQ(run("{rank: 2, target_modules: [q_proj]}"), run("{rank: 3}"));
}

TEST(LoraTest, DrawsAAsItIsAsked) {
  const auto squares = [](const std::string& yaml) {
    ParameterStore store;
    const LayerBuilder build = adapted_builder(store, yaml);
    const Linear layer(build, "o", 64, {{"o_proj.weight", 2}}, {.dtype = DType::kF64});
    const Embedding embedding(build, "e", 6, 64);
    const Head head(build, "lm_head", 6, embedding.weight());
    store.initialize(3);
    double sum = 0;
    for (const char* module : {"o_proj", "lm_head"})
      for (const double v : values_of_logical(store, concat(module, ".lora_A.weight")))
        sum += v * v;
    return sum / (2 * 8 * 64);
  };
  const std::string rules = "{rank: 8, target_modules: [o_proj, lm_head], init: ";
  EXPECT_NEAR(squares(rules + "kaiming}") * 3 * 64, 1.0, 0.1);
  EXPECT_NEAR(squares(rules + "gaussian}") * 8 * 8, 1.0, 0.1);
}

TEST(LoraRulesTest, NamesModulesAsPeftDoes) {
  const auto adapted = [](const std::string& yaml, const std::string& module) {
    return rules_of(yaml)->of(module).has_value();
  };
  const std::string q = "model.layers.3.self_attn.q_proj", gate = "model.layers.3.mlp.gate";
  const std::string expert = "model.layers.3.mlp.experts.11.gate_proj";
  for (const std::string& module : {q, expert}) EXPECT_TRUE(adapted("{rank: 1}", module));
  for (const std::string& module :
       {gate, std::string("lm_head"), std::string("model.embed_tokens")})
    EXPECT_FALSE(adapted("{rank: 1}", module)) << module;
  EXPECT_TRUE(adapted("{rank: 1, target_modules: [mlp.gate]}", gate));
  EXPECT_FALSE(adapted("{rank: 1, target_modules: [proj]}", q));
  EXPECT_TRUE(adapted("{rank: 1, target_modules: ['.*experts[.][0-9]+[.].*']}", expert));
  EXPECT_FALSE(adapted("{rank: 1, target_modules: ['experts[.][0-9]+']}", expert));
  EXPECT_FALSE(adapted("{rank: 1, exclude_modules: [q_proj]}", q));
  EXPECT_FALSE(adapted("{rank: 1, layers_to_transform: [2, 30]}", q));
  EXPECT_TRUE(adapted("{rank: 1, layers_to_transform: [3]}", q));
  EXPECT_FALSE(adapted("{rank: 1, modules_to_save: [q_proj]}", q));
  const auto rules =
      rules_of("{rank: 1, target_modules: [q_proj, qproj], modules_to_save: [norm]}");
  EXPECT_THAT(rules->unmatched({q, "model.norm"}, {q}), ElementsAre("lora.target_modules: qproj"));
  EXPECT_THAT(rules_of("{rank: 1, target_modules: [norm]}")->unmatched({q, "model.norm"}, {q}),
              ElementsAre("lora.target_modules: norm"));
  EXPECT_TRUE(rules->saves("model.norm"));
}

TEST(LoraRulesTest, RefusesWhatIsNoPattern) {
  EXPECT_THROW(rules_of("{rank: 1, target_modules: ['q_proj(']}"), Error);
  EXPECT_THROW(parse_config<LoraConfig>("{target_modules: [q_proj]}", "lora").config.validate(),
               Error);
}

}  // namespace
}  // namespace orthant::testing
