// SPDX-License-Identifier: Apache-2.0
// Text from a model: autoregressive decoding with a key-value cache.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "model/transformer.h"
#include "trainer/run_config.h"

namespace orthant {

struct GenerateOptions {
  std::string prompt;
  SamplingConfig sampling;
  std::vector<std::string> stop;  // texts, none empty, before the first of which the text ends
  int64_t seed = 1234;
  int64_t sample = 0;  // the n-th sample of a prompt; samples differ, and each is a pure function
                       // of (seed, prompt, sample)
  // Text as it comes, in whole UTF-8 characters; may be empty.
  std::function<void(const std::string& piece)> on_text;
};

// The text after the prompt; ends early at the end of the document or before a stop text.  Past the
// model's longest sequence it goes on from the last half.
std::string generate(const Transformer& model, const Tokenizer& tokenizer,
                     const GenerateOptions& options);

// The next token drawn from logits (host, any size): temperature, top-k, top-p; uniform in (0, 1).
int32_t draw_token(const std::vector<double>& logits, const SamplingConfig& sampling,
                   double uniform);

}  // namespace orthant
