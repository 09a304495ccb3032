// SPDX-License-Identifier: Apache-2.0
// Texts for a file of prompts, on any number of ranks.
//
// A line of the file is an object with one of
//   prompt    a text to go on from
//   messages  a conversation to answer, by the model's chat template
//   tokens    the ids to go on from
// and how its text is to be drawn, where that is not as the command says (trainer/line_sampling.h),
// and, where the model has adapters by name, adapter: which of them answers (null: none); and
// whatever else, but for the keys below.  A line of the output is that object as it stands
// there, with
//   text            what came
//   finish_reason   stop: the text ended by itself; length: it had max_new_tokens
//   sample          its number, where there are several of a prompt
//   ids, log_probs  with log_probs: the new tokens, with the one that ended the text, and each
//                   one's log-probability
//
// What is finished is kept (trainer/growing_file.h): the same work goes on behind it, with the
// bytes that it would have had.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/text_notes.h"
#include "trainer/generate.h"
#include "trainer/saved_model.h"

namespace orthant {

struct PromptFileResult {
  int64_t texts = 0;       // that are in the output
  int64_t tokens = 0;      // that this rank's replica of the model wrote
  int64_t were_there = 0;  // texts of an earlier process
};
struct PromptFileOptions {
  std::string prompts;        // .jsonl, plain or packed
  std::string output;         // lines in the order of the prompts; base/user_output.h
  GenerateOptions each = {};  // what all have alike
  int64_t samples = 1;        // of each prompt
  bool log_probs = false;
  BadLines bad_lines = BadLines::kFail;  // kSkip: warned of at the end
  DecoderOptions decoder = {};
  const std::atomic<bool>* stop = nullptr;                            // set by a signal handler
  std::function<void(const PromptFileResult& so_far)> progress = {};  // with every token
};
// Error(kData) "FILE:LINE: ...": a line that is none of these; Error(kCannotWrite);
// Error(kInterrupted): rank 0 was told to stop, and the same call goes on.  Collective
// over the model's ranks; data-parallel ones share out the prompts.
PromptFileResult generate_file(const SavedModel& model, const PromptFileOptions& options);

}  // namespace orthant
