// SPDX-License-Identifier: Apache-2.0
// A token's log-probability has the same bits whether it was written or scored, alone or in a
// batch.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/philox.h"
#include "model/decoder.h"
#include "trainer/sampling.h"
#include "trainer/scoring.h"

namespace orthant {
namespace {

ModelConfig grouped_queries() {
  ModelConfig c{.vocab_size = 67,
                .hidden_size = 48,
                .intermediate_size = 40,
                .num_hidden_layers = 3,
                .num_attention_heads = 6,
                .num_key_value_heads = 2,
                .n_routed_experts = 4,
                .n_shared_experts = 1,
                .num_experts_per_tok = 2,
                .moe_intermediate_size = 24,
                .first_k_dense_replace = 1};
  c.resolve(160);
  return c;
}

ModelConfig windows() {
  ModelConfig c = grouped_queries();
  c.head_dim = 16, c.v_head_dim = 16;
  c.sliding_window = 20;
  c.layer_types = {{"sliding_attention"}, {"full_attention"}, {"sliding_attention"}};
  c.resolve(160);
  return c;
}

ModelConfig latents() {
  ModelConfig c = grouped_queries();
  c.num_key_value_heads = 0, c.head_dim = 0;
  c.kv_lora_rank = 24, c.q_lora_rank = 20;
  c.qk_nope_head_dim = 10, c.qk_rope_head_dim = 6, c.v_head_dim = 9;
  c.resolve(160);
  return c;
}

class LogProbabilities : public ::testing::TestWithParam<DType> {};

TEST_P(LogProbabilities, OfWhatIsWrittenAreThoseOfScoring) {
  for (const ModelConfig& config : {grouped_queries(), windows(), latents()}) {
    ParameterStore store;
    const Transformer model({.config = config, .dtype = GetParam()}, store);
    store.initialize(5);
    std::vector<DecodeRequest> requests;
    for (uint32_t r = 0; r < 7; ++r) {
      DecodeRequest request{.max_new_tokens = 11 + 17 * static_cast<int64_t>(r % 4)};
      for (uint64_t i = 0; i < 1 + 13 * (r / 2); ++i)
        request.prompt.push_back(static_cast<int32_t>(philox({r / 2, 2}, 3, i).x[0] % 67));
      requests.push_back(request);
    }
    std::vector<std::vector<double>> told(requests.size());
    DecodeCallbacks callbacks;
    callbacks.choose = [&](int64_t request, int64_t place, const std::vector<double>& logits) {
      const auto r = static_cast<size_t>(request);
      const auto token = static_cast<int32_t>(
          philox({static_cast<uint32_t>(request), 9}, 1, static_cast<uint64_t>(place)).x[0] % 67);
      told[r].push_back(log_probability(logits, token));
      return token;
    };
    const auto written = Decoder({&model}, {.latent = LatentForm::kNaive, .max_sequences = 3})
                             .run(requests, callbacks);
    for (size_t r = 0; r < requests.size(); ++r) {
      std::vector<int32_t> ids = requests[r].prompt;
      ids.insert(ids.end(), written[r].begin(), written[r].end());
      const std::vector<double> scored = log_probabilities(model, ids);
      EXPECT_EQ(told[r], std::vector<double>(scored.end() - std::ssize(told[r]), scored.end()))
          << "request " << r;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, LogProbabilities,
                         ::testing::Values(DType::kF64, DType::kF32, DType::kBF16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace orthant
