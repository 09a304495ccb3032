// SPDX-License-Identifier: Apache-2.0
// Which requests have a place when, and that nobody sees it in what is written.
#include "model/decoder.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/context.h"
#include "tests/testing/small_models.h"

namespace orthant {
namespace {

using testing::small_latent, testing::small_moe, testing::small_sliding;

constexpr int64_t kLongest = 200;

std::vector<int32_t> prompt_of(uint32_t seed, size_t length) {
  return testing::small_tokens(length, seed);
}

struct Written {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::vector<std::vector<double>>> logits;  // by request and place
};

// Greedy; request 1 ends by itself at its fourth token, and the caller ends request 2 at its third.
Written run(const Transformer& model, const std::vector<DecodeRequest>& requests,
            const DecoderOptions& options, size_t first = 0) {
  Written result;
  result.logits.resize(requests.size());
  std::vector<int64_t> told(requests.size());
  DecodeCallbacks callbacks;
  callbacks.choose = [&](int64_t request, int64_t place, std::vector<double> logits) {
    const auto r = static_cast<size_t>(request);
    EXPECT_EQ(place, std::ssize(result.logits[r]));
    result.logits[r].push_back(logits);
    if (r + first == 1 && place == 4) return -1;
    // Samples of one prompt differ.
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    return static_cast<int32_t>((best + static_cast<int64_t>(r + first)) % std::ssize(logits));
  };
  callbacks.on_token = [&](int64_t request, int32_t) {
    return ++told[static_cast<size_t>(request)] < 3 || static_cast<size_t>(request) + first != 2;
  };
  result.tokens = Decoder({&model}, options).run(requests, callbacks);
  return result;
}

std::vector<DecodeRequest> requests_with_samples() {
  const std::vector<int32_t> a = prompt_of(1, 70), b = prompt_of(2, 5), c = prompt_of(3, 130);
  return {{a, 9}, {a, 9}, {b, 9}, {a, 3}, {c, 20}, {b, 0}, {a, 12}, {{7}, 4}, {{7}, 6}, {c, 100}};
}

// Each as if it were alone, whoever else is there, however long prompts are cut, and whether a
// prompt is read or another's cache is begun with.
TEST(DecoderTest, EachRequestHasTheBitsOfItAlone) {
  for (const ModelConfig& config :
       {small_moe(kLongest), small_sliding(kLongest), small_latent(kLongest)}) {
    ParameterStore store;
    const Transformer model({.config = config}, store);
    store.initialize(11);
    const std::vector<DecodeRequest> requests = requests_with_samples();
    Written alone;
    for (size_t r = 0; r < requests.size(); ++r) {
      const Written one = run(model, {requests[r]}, {}, r);
      alone.tokens.push_back(one.tokens[0]);
      alone.logits.push_back(one.logits[0]);
    }
    EXPECT_EQ(alone.tokens[0].size(), 9u);
    EXPECT_EQ(alone.tokens[1].size(), 4u);
    EXPECT_EQ(alone.tokens[2].size(), 3u);
    for (const DecoderOptions& options : std::vector<DecoderOptions>{
             {}, {.max_sequences = 1}, {.max_sequences = 3, .max_prompt_rows = 16}}) {
      const Written together = run(model, requests, options);
      EXPECT_EQ(together.tokens, alone.tokens) << options.max_sequences;
      EXPECT_EQ(together.logits, alone.logits) << options.max_sequences;
    }
  }
}

// Pages of a prompt are there once: what a batch of samples holds is little more than one.
TEST(DecoderTest, APromptIsReadOnce) {
  ParameterStore store;
  const ModelConfig config = small_moe(kLongest);
  const Transformer model({.config = config}, store);
  store.initialize(11);
  const auto most_of = [&](size_t samples) {
    int64_t most = 0;
    const auto ledger = context().ledger;
    const int64_t before = ledger->bytes(MemoryCategory::kCache);
    DecodeCallbacks callbacks;
    callbacks.choose = [&](int64_t, int64_t, const std::vector<double>&) {
      most = std::max(most, ledger->bytes(MemoryCategory::kCache) - before);
      return 3;
    };
    Decoder({&model}).run(std::vector<DecodeRequest>(samples, {prompt_of(1, 180), 8}), callbacks);
    return most;
  };
  const int64_t page = LayerCache::kPageRows * config.num_hidden_layers * 2 *
                       config.num_key_value_heads * config.head_dim * 4;
  EXPECT_EQ(most_of(1), 3 * page);
  EXPECT_LE(most_of(6), (2 + 6 + 1) * page);
}

}  // namespace
}  // namespace orthant
