// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/context.h"
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

// Latent attention with queries of a latent, beyond the length before YaRN.
ModelConfig small_latent() {
  ModelConfig c = small_moe();
  c.num_key_value_heads = 0, c.head_dim = 0;
  c.kv_lora_rank = 24, c.q_lora_rank = 20;
  c.qk_nope_head_dim = 10, c.qk_rope_head_dim = 6, c.v_head_dim = 9;
  c.rope_scaling = {.rope_type = RopeType::kYarn,
                    .factor = 4.0,
                    .original_max_position_embeddings = 24,
                    .mscale = 0.7,
                    .mscale_all_dim = 0.7};
  c.resolve(96);
  return c;
}

class DecodeTest : public ::testing::TestWithParam<DType> {};

// A row's result depends on its own keys alone, so token by token, in pieces and at once give the
// same bits.
TEST_P(DecodeTest, TokenByTokenGivesTheBitsOfOnePass) {
  for (const ModelConfig& config : {small_moe(), small_sliding(), small_latent()}) {
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
  for (const ModelConfig& config : {small_sliding(), small_latent()}) {
    ParameterStore store;
    const Transformer model({.config = config, .dtype = GetParam()}, store);
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
}

// Latents that are attended to as they are give what keys and values made of them give.
TEST_P(DecodeTest, AbsorbedLatentsAreNearNaiveOnes) {
  ParameterStore store;
  const Transformer model({.config = small_latent(), .dtype = GetParam()}, store);
  store.initialize(11);
  const std::vector<int32_t> ids = tokens(90);
  KvCache naive = model.make_cache({96, 96}, LatentForm::kNaive);
  KvCache absorbed = model.make_cache({96, 96}, LatentForm::kAbsorbed);
  double worst = 0;
  const auto step = [&](const NewTokens& next) {
    const std::vector<double> want = model.decode(next, naive).to_doubles();
    const std::vector<double> got = model.decode(next, absorbed).to_doubles();
    for (size_t i = 0; i < want.size(); ++i)
      worst = std::max(worst, std::abs(got[i] - want[i]) / std::max(1.0, std::abs(want[i])));
  };
  step({part(ids, 0, 70), part(ids, 0, 30)});
  EXPECT_EQ(worst, 0) << "prompts are naive";
  for (size_t i = 70; i < 85; ++i) step({{ids[i]}, {ids[i]}});
  step({part(ids, 85, 90), {3}});
  std::cout << "  largest difference " << worst << "\n";
  EXPECT_LT(worst, GetParam() == DType::kF64 ? 1e-12 : GetParam() == DType::kF32 ? 1e-5 : 3e-2);
  if (GetParam() == DType::kF64) {
    EXPECT_GT(worst, 0) << "the absorbed form did not run";
  }
}

// A token costs kv_lora_rank + qk_rope_head_dim elements a layer.
TEST_P(DecodeTest, ALatentCacheHoldsTheLatentAndTheSharedKey) {
  ParameterStore store;
  const ModelConfig config = small_latent();
  const Transformer model({.config = config, .dtype = GetParam()}, store);
  const auto held = [] { return context().ledger->bytes(MemoryCategory::kCache); };
  const int64_t before = held();
  const KvCache cache = model.make_cache({512, 1024});
  const int64_t wanted = (512 + 1024) * config.num_hidden_layers *
                         (config.kv_lora_rank + config.qk_rope_head_dim) * size_of(GetParam());
  EXPECT_GE(held() - before, wanted);
  EXPECT_LE(held() - before, wanted + 2 * 4096 * config.num_hidden_layers);
}

// Sequences of different lengths, of which some wait: each gets the bits that it gets alone, also
// where two are alike and go together.
TEST_P(DecodeTest, ASequenceInABatchHasTheBitsOfItAlone) {
  for (const ModelConfig& config : {small_moe(), small_sliding(), small_latent()}) {
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
  for (ModelConfig c : {small_moe(), small_latent()}) {
    for (bool tied : {false, true}) {
      c.tie_word_embeddings = tied;
      ParameterStore store;
      const Transformer model({.config = c}, store);
      EXPECT_EQ(store.numel(), total_parameters(c));
    }
  }
}

}  // namespace
}  // namespace orthant
