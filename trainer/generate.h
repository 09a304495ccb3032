// SPDX-License-Identifier: Apache-2.0
// Text from a model: autoregressive decoding with a key-value cache.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "model/decoder.h"
#include "trainer/run_blocks.h"

namespace orthant {

struct GenerateOptions {
  std::string prompt;
  std::vector<int32_t> begin = {};    // tokens before the prompt's
  std::vector<int32_t> ids = {};      // tokens to go on from, in place of a prompt
  std::vector<int32_t> end_ids = {};  // that end the text, beside the end of the document
  SamplingConfig sampling;
  std::vector<std::string> stop = {};  // the text ends where one of these begins
  int64_t seed = 1234;
  int64_t sample = 0;  // the n-th sample of a prompt; samples differ, and each is a pure function
                       // of (seed, prompt, sample)
  // Text as it comes, in whole UTF-8 characters; may be empty.
  std::function<void(const std::string& piece)> on_text;
};

// The texts after the prompts, each as if it were alone; one ends early at the end of the document
// or before a stop text.  Past the model's longest sequence it goes on from the last half.
// Collective as Decoder::run; every rank gets the texts, and on_text is called on each that has
// one.
std::vector<std::string> generate(const Decoder& decoder, const Tokenizer& tokenizer,
                                  const std::vector<GenerateOptions>& options);
// Of a model whose layers this rank holds.
std::string generate(const Transformer& model, const Tokenizer& tokenizer,
                     const GenerateOptions& options, LatentForm latent = LatentForm::kAbsorbed);

// The next token drawn from logits (host, any size): temperature, top-k, top-p; uniform in (0, 1).
int32_t draw_token(const std::vector<double>& logits, const SamplingConfig& sampling,
                   double uniform);

}  // namespace orthant
