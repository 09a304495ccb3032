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
  bool special = false;               // what spells a special token in the prompt becomes it
  std::vector<int32_t> begin = {};    // tokens before the prompt's
  std::vector<int32_t> ids = {};      // tokens to go on from, in place of a prompt
  int64_t adapter = -1;               // DecodeRequest::adapter
  std::vector<int32_t> end_ids = {};  // that end the text, beside the end of the document
  SamplingConfig sampling;
  std::vector<std::string> stop = {};  // the text ends where one of these begins
  int64_t seed = 1234;
  int64_t sample = 0;  // the n-th sample of a prompt; samples differ, and each is a pure function
                       // of (seed, prompt or ids, sample)
  bool wants_log_probs = false;
  // Text as it comes, in whole UTF-8 characters; may be empty.
  std::function<void(const std::string& piece)> on_text = {};
};

struct Generated {
  std::string text;  // behind the prompt
  // Of ranks that hold the last stage: the tokens, with the one that ended the text; with
  // wants_log_probs each one's log-probability in the model's distribution, whatever it was drawn
  // from, with the bits that the training pass gives it; whether the text ended by itself.
  std::vector<int32_t> ids = {};
  std::vector<double> log_probs = {};
  bool ended = false;
};

// The tokens that `options` goes on from.  A document's first token is never predicted, so an empty
// prompt begins with a line break.
std::vector<int32_t> prompt_tokens(const Tokenizer& tokenizer, const GenerateOptions& options);

// What comes after the prompts, each as if it were alone; one ends early at the end of the document
// or before a stop text.  Past the model's longest sequence it goes on from the last half.
// Collective as Decoder::run; every rank gets the texts, and on_text is called on each that has
// one.  on_token: called with each token of any text.
std::vector<Generated> generate(const Decoder& decoder, const Tokenizer& tokenizer,
                                const std::vector<GenerateOptions>& options,
                                const std::function<void()>& on_token = {});

}  // namespace orthant
