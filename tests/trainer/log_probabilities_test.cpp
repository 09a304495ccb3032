// SPDX-License-Identifier: Apache-2.0
// A token's log-probability has the same bits whether it was written or scored, alone or in a
// batch.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/philox.h"
#include "model/decoder.h"
#include "tests/testing/small_models.h"
#include "trainer/sampling.h"
#include "trainer/scoring.h"

namespace orthant {
namespace {

using testing::small_latent, testing::small_moe, testing::small_sliding;

constexpr int64_t kLongest = 160;

class LogProbabilities : public ::testing::TestWithParam<DType> {};

TEST_P(LogProbabilities, OfWhatIsWrittenAreThoseOfScoring) {
  for (const ModelConfig& config :
       {small_moe(kLongest), small_sliding(kLongest), small_latent(kLongest)}) {
    ParameterStore store;
    const Transformer model({.config = config, .dtype = GetParam()}, store);
    store.initialize(5);
    std::vector<DecodeRequest> requests;
    for (uint32_t r = 0; r < 7; ++r) {
      DecodeRequest request{.max_new_tokens = 11 + 17 * static_cast<int64_t>(r % 4)};
      request.prompt = testing::small_tokens(1 + 13 * (r / 2), r / 2);
      requests.push_back(request);
    }
    std::vector<std::vector<double>> told(requests.size());
    DecodeCallbacks callbacks;
    callbacks.choose = [&](int64_t request, int64_t place, const std::vector<double>& logits) {
      const auto r = static_cast<size_t>(request);
      const auto token = static_cast<int32_t>(
          philox({static_cast<uint32_t>(request), 9}, 1, static_cast<uint64_t>(place)).x[0] % 61);
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
