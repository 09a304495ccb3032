// SPDX-License-Identifier: Apache-2.0
#include "trainer/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/philox.h"
#include "data/text_stream.h"
#include "trainer/stop_texts.h"

namespace orthant {

int32_t draw_token(const std::vector<double>& logits, const SamplingConfig& sampling,
                   double uniform) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  // Ties go to the lower id, so that greedy decoding is one answer.
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const double la = logits[static_cast<size_t>(a)], lb = logits[static_cast<size_t>(b)];
    return la != lb ? la > lb : a < b;
  });
  if (sampling.temperature == 0.0) return order[0];
  if (sampling.top_k > 0 && sampling.top_k < static_cast<int64_t>(order.size()))
    order.resize(static_cast<size_t>(sampling.top_k));
  std::vector<double> weights(order.size());
  double total = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    weights[i] =
        std::exp((logits[static_cast<size_t>(order[i])] - logits[static_cast<size_t>(order[0])]) /
                 sampling.temperature);
    total += weights[i];
  }
  if (sampling.top_p < 1.0) {
    double kept = 0;
    size_t count = 0;
    while (count < weights.size() && kept < sampling.top_p * total) kept += weights[count++];
    weights.resize(count);
    total = kept;
  }
  double left = uniform * total;
  for (size_t i = 0; i < weights.size(); ++i) {
    left -= weights[i];
    if (left <= 0) return order[i];
  }
  return order[weights.size() - 1];
}

std::string generate(const Transformer& model, const Tokenizer& tokenizer,
                     const GenerateOptions& options) {
  // A document's first token is never predicted, so an empty prompt begins with a line break.
  std::vector<int32_t> tokens = tokenizer.encode(options.prompt.empty() ? "\n" : options.prompt);
  // A tokenizer that drops white space leaves nothing of a line break.
  if (tokens.empty()) tokens.push_back(tokenizer.end_of_document());
  const int64_t capacity = model.config().max_position_embeddings;
  const PhiloxKey key =
      make_key(static_cast<uint64_t>(options.seed), RandomPurpose::kSampling, options.prompt);
  std::string text;
  TextStream stream(tokenizer);
  StopTexts stop(options.stop);
  const auto put = [&](const std::string& piece) {
    text += piece;
    if (options.on_text && !piece.empty()) options.on_text(piece);
  };
  KvCache cache = model.make_cache(1, capacity);
  size_t fed = 0;  // tokens that the cache has seen
  for (int64_t i = 0; i < options.sampling.max_new_tokens && !stop.stopped(); ++i) {
    if (cache.length + static_cast<int64_t>(tokens.size() - fed) > capacity) {
      fed = tokens.size() - static_cast<size_t>(std::max<int64_t>(1, capacity / 2));
      cache.length = 0;
    }
    const std::span<const int32_t> next(tokens.data() + fed, tokens.size() - fed);
    const Tensor logits = model.decode(Tensor::from_i32({std::ssize(next)}, next), cache);
    fed = tokens.size();
    std::vector<double> values = logits.to_doubles();
    values.resize(static_cast<size_t>(
        std::min<int64_t>(tokenizer.vocab_size(), static_cast<int64_t>(values.size()))));
    const double uniform =
        philox_uniform(key, static_cast<uint64_t>(options.sample), static_cast<uint64_t>(i));
    const int32_t token = draw_token(values, options.sampling, uniform);
    if (token == tokenizer.end_of_document()) break;
    tokens.push_back(token);
    put(stop.add(stream.add(token)));
  }
  put(stop.add(stream.finish()));
  put(stop.finish());
  return text;
}

}  // namespace orthant
