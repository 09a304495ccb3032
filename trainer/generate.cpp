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
namespace {

// Token ids, likelier ones first, in order as far as anybody looks.
class ByLogit {
 public:
  explicit ByLogit(const std::vector<double>& logits) : logits_(logits), ids_(logits.size()) {
    std::iota(ids_.begin(), ids_.end(), 0);
  }
  int32_t operator[](size_t i) {
    while (i >= sorted_) {
      const size_t next = std::min(ids_.size(), std::max<size_t>(64, 4 * sorted_));
      const auto begin = ids_.begin() + static_cast<ptrdiff_t>(sorted_);
      const auto end = ids_.begin() + static_cast<ptrdiff_t>(next);
      std::partial_sort(begin, end, ids_.end(), [this](int32_t a, int32_t b) {
        const double la = logit(a), lb = logit(b);
        // Ties go to the lower id, so that greedy decoding is one answer.
        return la != lb ? la > lb : a < b;
      });
      sorted_ = next;
    }
    return ids_[i];
  }
  double logit(int32_t id) const { return logits_[static_cast<size_t>(id)]; }

 private:
  const std::vector<double>& logits_;
  std::vector<int32_t> ids_;
  size_t sorted_ = 0;
};

}  // namespace

int32_t draw_token(const std::vector<double>& logits, const SamplingConfig& sampling,
                   double uniform) {
  ByLogit order(logits);
  if (sampling.temperature == 0.0)
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  const double largest = *std::max_element(logits.begin(), logits.end());
  const auto weight = [&](double logit) {
    return std::exp((logit - largest) / sampling.temperature);
  };
  size_t candidates = logits.size();
  double total = 0;
  if (sampling.top_k > 0 && sampling.top_k < std::ssize(logits)) {
    candidates = static_cast<size_t>(sampling.top_k);
    for (size_t i = 0; i < candidates; ++i) total += weight(order.logit(order[i]));
  } else {
    for (const double logit : logits) total += weight(logit);
  }
  if (sampling.top_p < 1.0) {
    double kept = 0;
    size_t count = 0;
    while (count < candidates && kept < sampling.top_p * total)
      kept += weight(order.logit(order[count++]));
    candidates = count;
    total = kept;
  }
  double left = uniform * total;
  for (size_t i = 0; i < candidates; ++i) {
    left -= weight(order.logit(order[i]));
    if (left <= 0) return order[i];
  }
  return order[candidates - 1];
}

namespace {

// A document's first token is never predicted, so an empty prompt begins with a line break.
std::vector<int32_t> prompt_tokens(const Tokenizer& tokenizer, const GenerateOptions& options) {
  if (!options.ids.empty()) return options.ids;
  std::vector<int32_t> tokens = options.begin;
  const std::string& prompt = options.prompt;
  for (const int32_t token : tokenizer.encode(prompt.empty() && tokens.empty() ? "\n" : prompt))
    tokens.push_back(token);
  // A tokenizer that drops white space leaves nothing of a line break.
  if (tokens.empty()) tokens.push_back(tokenizer.end_of_document());
  return tokens;
}

// A text as it grows.
class Writing {
 public:
  Writing(const Tokenizer& tokenizer, const GenerateOptions& options)
      : options_(options), stream_(tokenizer), stop_(options.stop) {}
  void add(int32_t token) { put(stop_.add(stream_.add(token))); }
  bool stopped() const { return stop_.stopped(); }
  std::string finish() {
    put(stop_.add(stream_.finish()));
    put(stop_.finish());
    return std::move(text_);
  }

 private:
  void put(const std::string& piece) {
    text_ += piece;
    if (options_.on_text && !piece.empty()) options_.on_text(piece);
  }
  const GenerateOptions& options_;
  TextStream stream_;
  StopTexts stop_;
  std::string text_;
};

}  // namespace

std::vector<std::string> generate(const Decoder& decoder, const Tokenizer& tokenizer,
                                  const std::vector<GenerateOptions>& options) {
  std::vector<DecodeRequest> requests;
  std::vector<Writing> texts;
  for (const GenerateOptions& one : options) {
    requests.push_back({prompt_tokens(tokenizer, one), one.sampling.max_new_tokens});
    texts.emplace_back(tokenizer, one);
  }
  DecodeCallbacks callbacks;
  callbacks.choose = [&](int64_t i, int64_t place, std::vector<double> logits) {
    const GenerateOptions& one = options[static_cast<size_t>(i)];
    if (texts[static_cast<size_t>(i)].stopped()) return -1;
    // A vocabulary may be padded beyond the tokenizer's.
    logits.resize(std::min(logits.size(), static_cast<size_t>(tokenizer.vocab_size())));
    const PhiloxKey key =
        make_key(static_cast<uint64_t>(one.seed), RandomPurpose::kSampling, one.prompt);
    const int32_t token = draw_token(
        logits, one.sampling,
        philox_uniform(key, static_cast<uint64_t>(one.sample), static_cast<uint64_t>(place)));
    const bool ends = std::find(one.end_ids.begin(), one.end_ids.end(), token) != one.end_ids.end();
    return ends || token == tokenizer.end_of_document() ? -1 : token;
  };
  callbacks.on_token = [&](int64_t i, int32_t token) { texts[static_cast<size_t>(i)].add(token); };
  decoder.run(requests, callbacks);
  std::vector<std::string> all;
  for (Writing& text : texts) all.push_back(text.finish());
  return all;
}

std::string generate(const Transformer& model, const Tokenizer& tokenizer,
                     const GenerateOptions& options, LatentForm latent) {
  return generate(Decoder({&model}, latent), tokenizer, std::vector{options}).front();
}

}  // namespace orthant
