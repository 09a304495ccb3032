// SPDX-License-Identifier: Apache-2.0
#include "trainer/generate.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/philox.h"
#include "data/text_stream.h"
#include "trainer/sampling.h"
#include "trainer/stop_texts.h"

namespace orthant {
namespace {

// What tells a prompt from others: draws of different ones are independent.
std::string name_of(const GenerateOptions& options) {
  std::string name = options.prompt;
  for (const int32_t id : options.ids) name += concat(" ", id);
  return name;
}

// One of the texts, as it grows.
class Writing {
 public:
  Writing(const Tokenizer& tokenizer, const GenerateOptions& options)
      : tokenizer_(tokenizer),
        options_(options),
        prompt_(prompt_tokens(tokenizer, options)),
        seen_(prompt_.begin(), prompt_.end()),
        stream_(tokenizer),
        stop_(options.stop) {}

  const std::vector<int32_t>& prompt() const { return prompt_; }
  // The place-th new token, or -1 where it ends the text.
  int32_t choose(int64_t place, std::vector<double> logits);
  // False where the text ends with it.
  bool add(int32_t token) {
    put(stop_.add(stream_.add(token)));
    if (stop_.stopped()) written_.ended = true;
    return !stop_.stopped();
  }
  Generated finish() {
    put(stop_.add(stream_.finish()));
    put(stop_.finish());
    return std::move(written_);
  }

 private:
  void put(const std::string& piece) {
    written_.text += piece;
    if (options_.on_text && !piece.empty()) options_.on_text(piece);
  }
  bool ends(int32_t token) const {
    const std::vector<int32_t>& ends = options_.end_ids;
    return token == tokenizer_.end_of_document() ||
           std::find(ends.begin(), ends.end(), token) != ends.end();
  }

  const Tokenizer& tokenizer_;
  const GenerateOptions& options_;
  std::vector<int32_t> prompt_;
  std::set<int32_t> seen_;  // tokens of the prompt and behind it
  TextStream stream_;
  StopTexts stop_;
  Generated written_;
};

int32_t Writing::choose(int64_t place, std::vector<double> logits) {
  const std::vector<double> whole = options_.wants_log_probs ? logits : std::vector<double>();
  // A vocabulary may be padded beyond the tokenizer's.
  logits.resize(std::min(logits.size(), static_cast<size_t>(tokenizer_.vocab_size())));
  penalize_repetition(logits, seen_, options_.sampling.repetition_penalty);
  const PhiloxKey key =
      make_key(static_cast<uint64_t>(options_.seed), RandomPurpose::kSampling, name_of(options_));
  const int32_t token = draw_token(
      logits, options_.sampling,
      philox_uniform(key, static_cast<uint64_t>(options_.sample), static_cast<uint64_t>(place)));
  written_.ids.push_back(token);
  seen_.insert(token);
  if (options_.wants_log_probs) written_.log_probs.push_back(log_probability(whole, token));
  if (!ends(token)) return token;
  written_.ended = true;
  return -1;
}

}  // namespace

std::vector<int32_t> prompt_tokens(const Tokenizer& tokenizer, const GenerateOptions& options) {
  if (!options.ids.empty()) return options.ids;
  std::vector<int32_t> tokens = options.begin;
  const std::string& prompt = options.prompt;
  const std::vector<int32_t> own =
      options.special ? tokenizer.encode_with_added(prompt)
                      : tokenizer.encode(prompt.empty() && tokens.empty() ? "\n" : prompt);
  tokens.insert(tokens.end(), own.begin(), own.end());
  // A tokenizer that drops white space leaves nothing of a line break.
  if (tokens.empty()) tokens.push_back(tokenizer.end_of_document());
  return tokens;
}

std::vector<Generated> generate(const Decoder& decoder, const Tokenizer& tokenizer,
                                const std::vector<GenerateOptions>& options,
                                const std::function<void()>& on_token) {
  std::vector<DecodeRequest> requests;
  std::vector<Writing> texts;
  texts.reserve(options.size());
  for (const GenerateOptions& one : options) {
    texts.emplace_back(tokenizer, one);
    requests.push_back({texts.back().prompt(), one.sampling.max_new_tokens, one.adapter});
  }
  const auto of = [&](int64_t i) -> Writing& { return texts[static_cast<size_t>(i)]; };
  DecodeCallbacks callbacks;
  callbacks.choose = [&](int64_t i, int64_t place, std::vector<double> logits) {
    return of(i).choose(place, std::move(logits));
  };
  callbacks.on_token = [&](int64_t i, int32_t token) {
    if (on_token) on_token();
    return of(i).add(token);
  };
  decoder.run(requests, callbacks);
  std::vector<Generated> all;
  for (Writing& text : texts) all.push_back(text.finish());
  return all;
}

}  // namespace orthant
