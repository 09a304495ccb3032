// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/context.h"
#include "model/transformer.h"
#include "tests/data/files.h"
#include "tests/testing/small_models.h"

namespace orthant {
namespace {

using testing::small_latent, testing::small_moe, testing::small_sliding;

std::vector<int32_t> tokens(size_t n) { return testing::small_tokens(n); }

std::vector<int32_t> part(const std::vector<int32_t>& ids, size_t begin, size_t end) {
  return {ids.begin() + static_cast<ptrdiff_t>(begin), ids.begin() + static_cast<ptrdiff_t>(end)};
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
    KvCache whole = model.make_cache(1), pieces = model.make_cache(1), single = model.make_cache(1);
    const std::vector<double> want = model.decode({ids}, whole).to_doubles();
    model.decode({part(ids, 0, 70)}, pieces);
    EXPECT_EQ(model.decode({part(ids, 70, 90)}, pieces).to_doubles(), want);
    Tensor last;
    for (const int32_t id : ids) last = model.decode({NewTokens{id}}, single);
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
    KvCache cache = model.make_cache(1);
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
  KvCache naive = model.make_cache(2, LatentForm::kNaive);
  KvCache absorbed = model.make_cache(2, LatentForm::kAbsorbed);
  double worst = 0;
  const auto step = [&](const NextTokens& next) {
    const std::vector<double> want = model.decode(next, naive).to_doubles();
    const std::vector<double> got = model.decode(next, absorbed).to_doubles();
    for (size_t i = 0; i < want.size(); ++i)
      worst = std::max(worst, std::abs(got[i] - want[i]) / std::max(1.0, std::abs(want[i])));
  };
  step({part(ids, 0, 70), part(ids, 0, 30)});
  EXPECT_EQ(worst, 0) << "prompts are naive";
  for (size_t i = 70; i < 85; ++i) step({NewTokens{ids[i]}, NewTokens{ids[i]}});
  step({part(ids, 85, 90), NewTokens{3}});
  std::cout << "  largest difference " << worst << "\n";
  EXPECT_LT(worst, GetParam() == DType::kF64 ? 1e-12 : GetParam() == DType::kF32 ? 1e-5 : 3e-2);
  if (GetParam() == DType::kF64) {
    EXPECT_GT(worst, 0) << "the absorbed form did not run";
  }
}

int64_t cache_bytes() { return context().ledger->bytes(MemoryCategory::kCache); }

// A token costs kv_lora_rank + qk_rope_head_dim elements a layer, and a sequence at most a page
// more.
TEST_P(DecodeTest, ALatentCacheHoldsTheLatentAndTheSharedKey) {
  ParameterStore store;
  const ModelConfig config = small_latent();
  const Transformer model({.config = config, .dtype = GetParam()}, store);
  store.initialize(11);
  const int64_t before = cache_bytes();
  KvCache cache = model.make_cache(2);
  const std::vector<int32_t> ids = tokens(90);
  const int64_t of_token = config.num_hidden_layers *
                           (config.kv_lora_rank + config.qk_rope_head_dim) * size_of(GetParam());
  int64_t held = 0;
  for (size_t i = 0; i < 6; ++i) {
    model.decode({part(ids, 15 * i, 15 * i + 15), i < 2 ? part(ids, 0, 1) : part(ids, 0, 0)},
                 cache);
    held += i < 2 ? 16 : 15;
    EXPECT_GE(cache_bytes() - before, held * of_token) << i;
    EXPECT_LE(cache_bytes() - before, (held + 2 * LayerCache::kPageRows) * of_token) << i;
  }
  cache.clear(0);
  EXPECT_EQ(cache_bytes() - before, LayerCache::kPageRows * of_token);
}

// Where every layer has a window, memory stays what it was behind the first one.
TEST_P(DecodeTest, CachesOfWindowsRoll) {
  ModelConfig config = small_moe();
  config.max_position_embeddings = 1000;
  config.sliding_window = 70;
  config.resolve(1000);
  ParameterStore store;
  const Transformer model({.config = config, .dtype = GetParam()}, store);
  store.initialize(11);
  const std::vector<int32_t> ids = tokens(500);
  KvCache rolling = model.make_cache(1), whole = model.make_cache(1);
  const int64_t before = cache_bytes();
  Tensor last;
  int64_t most = 0, behind_two_windows = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    last = model.decode({NewTokens{ids[i]}}, rolling);
    most = std::max(most, cache_bytes() - before);
    if (i == 200) behind_two_windows = most;
  }
  EXPECT_EQ(most, behind_two_windows);
  EXPECT_EQ(last.to_doubles(), model.decode({ids}, whole).to_doubles());
}

// Sequences with a beginning in common share its pages, and go on each by itself.
TEST_P(DecodeTest, ASequenceCanBeginWithWhatAnotherHas) {
  for (const ModelConfig& config : {small_moe(), small_sliding(), small_latent()}) {
    for (const size_t length : {size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{80}}) {
      ParameterStore store;
      const Transformer model({.config = config, .dtype = GetParam()}, store);
      store.initialize(11);
      const std::vector<int32_t> ids = tokens(90);
      KvCache cache = model.make_cache(3), alone = model.make_cache(1);
      NewTokens prompt = part(ids, 0, length);
      prompt.of_prompt = true;
      const std::vector<double> want = model.decode({prompt, {}, {}}, cache).to_doubles();
      const int64_t of_one = cache_bytes();
      {
        const KvCache::Kept kept = cache.keep(0);
        model.decode({NewTokens{5}, {}, {}}, cache);
        NewTokens last = part(ids, length - 1, length);
        last.of_prompt = true;
        cache.put(1, kept, kept.length - 1);
        cache.put(2, kept, kept.length - 1);
        const std::vector<double> both = model.decode({{}, last, last}, cache).to_doubles();
        EXPECT_EQ(std::vector<double>(both.begin(), both.begin() + std::ssize(want)), want);
        EXPECT_EQ(std::vector<double>(both.begin() + std::ssize(want), both.end()), want);
      }
      if (length == 80) {
        EXPECT_LT(cache_bytes(), 3 * of_one);
      }
      const std::vector<double> got =
          model.decode({NewTokens{6}, NewTokens{7}, {}}, cache).to_doubles();
      model.decode({prompt}, alone);
      EXPECT_EQ(model.decode({NewTokens{7}}, alone).to_doubles(),
                std::vector<double>(got.begin() + std::ssize(want), got.end()));
    }
  }
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
    const std::vector<NextTokens> given = {
        {part(ids, 0, 30), NewTokens{7}, NewTokens{8}, NewTokens{9}},
        {part(ids, 0, 30), NewTokens{5}, {}, NewTokens{4}},
        {part(ids, 40, 43), part(ids, 3, 30), NewTokens{1}, NewTokens{2}},
        {{}, part(ids, 50, 80), NewTokens{3}, NewTokens{6, 2, 1}},
    };
    KvCache together = model.make_cache(4);
    std::vector<KvCache> alone;
    for (size_t b = 0; b < given.size(); ++b) alone.push_back(model.make_cache(1));
    for (size_t step = 0; step < 4; ++step) {
      NextTokens next;
      std::vector<double> want;
      for (size_t b = 0; b < given.size(); ++b) {
        next.push_back(given[b][step]);
        if (next.back().size() == 0) continue;
        const std::vector<double> logits = model.decode({next.back()}, alone[b]).to_doubles();
        want.insert(want.end(), logits.begin(), logits.end());
      }
      EXPECT_EQ(model.decode(next, together).to_doubles(), want) << "step " << step;
    }
    expect_error(ErrorKind::kInternal, {"sequence 2 would have 97 tokens, the model takes 96"},
                 [&] {
                   model.decode({{}, {}, tokens(65), {}}, together);
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
