// SPDX-License-Identifier: Apache-2.0
// A model's language loss on documents, and its choices among answers.
//
// A line of the file is an object with
//   text                      a document
//   tokens                    the ids of one
//   messages                  a conversation, by the model's chat template
//   prompt, choices, answer   texts to go on with behind a prompt, and the right one: its place,
//                             from 0, or its text
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "trainer/saved_model.h"

namespace orthant {

struct EvaluationTotals {
  int64_t documents = 0, tokens = 0, bytes = 0;  // tokens that were predicted, and their text
  double nats = 0;
  int64_t questions = 0;
  double right = 0, right_per_byte = 0;  // by log-likelihood, and over the answer's bytes

  double loss() const { return nats / static_cast<double>(tokens); }
  double bits_per_byte() const;
};

struct EvaluationOptions {
  std::string data;       // .jsonl, also .gz or .zst
  std::string log_probs;  // file to write a line into for each document; empty: none
  std::function<void(const EvaluationTotals&)> progress = {};
};
// Error(kData) "FILE:LINE: ...": a line that is none of these; Error(kCannotWrite).
EvaluationTotals evaluate_file(const SavedModel& model, const EvaluationOptions& options);

}  // namespace orthant
