// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "base/philox.h"
#include "model/transformer.h"

namespace orthant {
namespace {

ModelConfig small_moe() {
  ModelConfig c{.vocab_size = 61,
                .hidden_size = 32,
                .intermediate_size = 40,
                .num_hidden_layers = 3,
                .num_attention_heads = 4,
                .num_key_value_heads = 2,
                .n_routed_experts = 4,
                .n_shared_experts = 1,
                .num_experts_per_tok = 2,
                .moe_intermediate_size = 24,
                .first_k_dense_replace = 1};
  c.resolve(96);
  return c;
}

Tensor tokens(int64_t n) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i)
    ids.push_back(static_cast<int32_t>(philox({1, 2}, 3, static_cast<uint64_t>(i)).x[0] % 61));
  return Tensor::from_i32({n}, ids);
}

// Windows below and above a block of keys, and a layer without.
ModelConfig small_sliding() {
  ModelConfig c = small_moe();
  c.sliding_window = 20;
  c.layer_types = {{"sliding_attention"}, {"full_attention"}, {"sliding_attention"}};
  return c;
}

class DecodeTest : public ::testing::TestWithParam<DType> {};

// A row's result depends on its own keys alone, so token by token, in pieces and at once give the
// same bits.
TEST_P(DecodeTest, TokenByTokenGivesTheBitsOfOnePass) {
  for (const ModelConfig& config : {small_moe(), small_sliding()}) {
    ParameterStore store;
    const Transformer model({.config = config, .dtype = GetParam()}, store);
    store.initialize(11);
    const Tensor ids = tokens(90);
    KvCache whole = model.make_cache(1, 96), pieces = model.make_cache(1, 96),
            single = model.make_cache(1, 96);
    const std::vector<double> want = model.decode(ids, whole).to_doubles();
    model.decode(ids.slice(0, 70), pieces);
    EXPECT_EQ(model.decode(ids.slice(70, 90), pieces).to_doubles(), want);
    Tensor last;
    for (int64_t i = 0; i < 90; ++i) last = model.decode(ids.slice(i, i + 1), single);
    EXPECT_EQ(last.to_doubles(), want);
  }
}

// One token's logits, decoded, are those of the training pass: the loss of its label.
TEST_P(DecodeTest, DecodingIsTheTrainingPass) {
  ParameterStore store;
  const Transformer model({.config = small_sliding(), .dtype = GetParam()}, store);
  store.initialize(11);
  const int64_t length = 90;
  const Tensor ids = tokens(length);
  std::vector<int32_t> labels(static_cast<size_t>(length), -1), positions;
  labels.back() = 17;
  for (int32_t i = 0; i < length; ++i) positions.push_back(i);
  const std::span<const int32_t> tokens_of = ids.span<int32_t>();
  const Batch batch{.sequences = 1,
                    .length = length,
                    .ids = {tokens_of.begin(), tokens_of.end()},
                    .labels = labels,
                    .positions = positions,
                    .doc_start = std::vector<int32_t>(static_cast<size_t>(length), 0),
                    .sample_ids = {0}};
  Pass pass(batch, {}, Device{});
  const NoGradScope no_grad;
  const HeadLoss loss = model.head().loss(model.forward(Var(), pass), pass.labels);
  KvCache cache = model.make_cache(1, length);
  const std::vector<double> logits = model.decode(ids, cache).to_doubles();
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - logits[17]);
  const double tolerance = GetParam() == DType::kF64 ? 1e-13 : 1e-5;
  EXPECT_NEAR(loss.losses.to_doubles().back(), std::log(sum), tolerance);
}

TEST_P(DecodeTest, BatchesDoNotMix) {
  ParameterStore store;
  const Transformer model({.config = small_moe(), .dtype = GetParam()}, store);
  store.initialize(11);
  const Tensor ids = tokens(40);
  KvCache both = model.make_cache(2, 30), first = model.make_cache(1, 30),
          second = model.make_cache(1, 50);
  const std::vector<double> all = model.decode(ids, both).to_doubles();
  std::vector<double> apart = model.decode(ids.slice(0, 20), first).to_doubles();
  for (double x : model.decode(ids.slice(20, 40), second).to_doubles()) apart.push_back(x);
  EXPECT_EQ(all, apart);
}

INSTANTIATE_TEST_SUITE_P(Types, DecodeTest,
                         ::testing::Values(DType::kF64, DType::kF32, DType::kBF16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(ModelConfigTest, CountsEqualTheStore) {
  for (bool tied : {false, true}) {
    ModelConfig c = small_moe();
    c.tie_word_embeddings = tied;
    ParameterStore store;
    const Transformer model({.config = c}, store);
    EXPECT_EQ(store.numel(), total_parameters(c));
  }
}

}  // namespace
}  // namespace orthant
