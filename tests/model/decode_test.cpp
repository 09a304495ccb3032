// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/philox.h"
#include "model/transformer.h"
#include "tests/data/files.h"

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

std::vector<int32_t> tokens(size_t n) {
  std::vector<int32_t> ids;
  for (uint64_t i = 0; i < n; ++i)
    ids.push_back(static_cast<int32_t>(philox({1, 2}, 3, i).x[0] % 61));
  return ids;
}

std::vector<int32_t> part(const std::vector<int32_t>& ids, size_t begin, size_t end) {
  return {ids.begin() + static_cast<ptrdiff_t>(begin), ids.begin() + static_cast<ptrdiff_t>(end)};
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
    const std::vector<int32_t> ids = tokens(90);
    KvCache whole = model.make_cache({96}), pieces = model.make_cache({96}),
            single = model.make_cache({96});
    const std::vector<double> want = model.decode({ids}, whole).to_doubles();
    model.decode({part(ids, 0, 70)}, pieces);
    EXPECT_EQ(model.decode({part(ids, 70, 90)}, pieces).to_doubles(), want);
    Tensor last;
    for (const int32_t id : ids) last = model.decode({{id}}, single);
    EXPECT_EQ(last.to_doubles(), want);
  }
}

// One token's logits, decoded, are those of the training pass: the loss of its label.
TEST_P(DecodeTest, DecodingIsTheTrainingPass) {
  ParameterStore store;
  const Transformer model({.config = small_sliding(), .dtype = GetParam()}, store);
  store.initialize(11);
  const int64_t length = 90;
  const std::vector<int32_t> ids = tokens(90);
  std::vector<int32_t> labels(ids.size(), -1), positions(ids.size());
  labels.back() = 17;
  std::iota(positions.begin(), positions.end(), 0);
  const MicroBatch batch{.sequences = 1,
                         .length = length,
                         .ids = ids,
                         .labels = labels,
                         .positions = positions,
                         .doc_start = std::vector<int32_t>(ids.size(), 0),
                         .sample_ids = {0}};
  Pass pass(batch, {}, Device{});
  const NoGradScope no_grad;
  const HeadLoss loss = model.head().loss(model.forward(Var(), pass), pass.labels);
  KvCache cache = model.make_cache({length});
  const std::vector<double> logits = model.decode({ids}, cache).to_doubles();
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - logits[17]);
  const double tolerance = GetParam() == DType::kF64 ? 1e-13 : 1e-5;
  EXPECT_NEAR(loss.losses.to_doubles().back(), std::log(sum), tolerance);
}

// Sequences of different lengths, of which some wait: each gets the bits that it gets alone, also
// where two are alike and go together.
TEST_P(DecodeTest, ASequenceInABatchHasTheBitsOfItAlone) {
  for (const ModelConfig& config : {small_moe(), small_sliding()}) {
    ParameterStore store;
    const Transformer model({.config = config, .dtype = GetParam()}, store);
    store.initialize(11);
    const std::vector<int32_t> ids = tokens(90);
    // By sequence: what it gets in each step.
    const std::vector<NewTokens> given = {
        {part(ids, 0, 30), {7}, {8}, {9}},
        {part(ids, 0, 30), {5}, {}, {4}},
        {part(ids, 40, 43), part(ids, 3, 30), {1}, {2}},
        {{}, part(ids, 50, 80), {3}, {6, 2, 1}},
    };
    KvCache together = model.make_cache({40, 40, 33, 50});
    std::vector<KvCache> alone;
    for (size_t b = 0; b < given.size(); ++b) alone.push_back(model.make_cache({60}));
    for (size_t step = 0; step < 4; ++step) {
      NewTokens next;
      std::vector<double> want;
      for (size_t b = 0; b < given.size(); ++b) {
        next.push_back(given[b][step]);
        if (next.back().empty()) continue;
        const std::vector<double> logits = model.decode({next.back()}, alone[b]).to_doubles();
        want.insert(want.end(), logits.begin(), logits.end());
      }
      EXPECT_EQ(model.decode(next, together).to_doubles(), want) << "step " << step;
    }
    expect_error(ErrorKind::kInternal, {"sequence 2", "room for 33 tokens, want 34"}, [&] {
      model.decode({{}, {}, {1, 2}, {}}, together);
    });
  }
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
