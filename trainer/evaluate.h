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

#include "trainer/document_lines.h"
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

struct EvaluateOptions {
  DocumentOptions documents;
  // Where a line goes for each document, {"line", "id" where it has one, "ids", "log_probs"}, and
  // for each question, {"line", "id", "log_likelihoods" of its choices, "chosen", "answer"}: places
  // from 0.  Empty: none.
  std::string log_probs;
  // After each line; lines: how many by now.
  std::function<void(const EvaluationTotals&, int64_t lines)> progress = {};
};
// Error(kData) "FILE:LINE: ...": a line that is none of these; Error(kCannotWrite).
EvaluationTotals evaluate_file(const SavedModel& model, const EvaluateOptions& options);

}  // namespace orthant
