// SPDX-License-Identifier: Apache-2.0
// Texts for a file of prompts, on any number of ranks.
//
// A line of the file is an object with one of
//   prompt    a text to go on from
//   messages  a conversation to answer, by the model's chat template
//   tokens    the ids to go on from
// and whatever else, but for the keys below: it is copied.  A line of the output is that object,
// with
//   text            what came
//   finish_reason   stop: the text ended by itself; length: it had max_new_tokens
//   sample          its number, where there are several of a prompt
//   ids, log_probs  with log_probs: the new tokens, with the one that ended the text, and each
//                   one's log-probability
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "trainer/generate.h"
#include "trainer/saved_model.h"

namespace orthant {

struct PromptFileResult {
  int64_t texts = 0;   // that are in the output
  int64_t tokens = 0;  // that this rank's replica of the model wrote
};
struct PromptFileOptions {
  std::string prompts;        // .jsonl, plain or packed
  std::string output;         // lines in the order of the prompts; there whole or not at all
  GenerateOptions each = {};  // what all have alike
  int64_t samples = 1;        // of each prompt
  bool log_probs = false;
  DecoderOptions decoder = {};
  std::function<void(const PromptFileResult& so_far)> progress = {};  // with every token
};
// Error(kData) "FILE:LINE: ...": a line that is none of these; Error(kCannotWrite).  Collective
// over the model's ranks; data-parallel ones share out the prompts.
PromptFileResult generate_file(const SavedModel& model, const PromptFileOptions& options);

}  // namespace orthant
