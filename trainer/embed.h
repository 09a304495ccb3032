// SPDX-License-Identifier: Apache-2.0
// One vector for each document: what a model's hidden states behind the final norm are over its
// tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/enum_names.h"
#include "trainer/document_lines.h"
#include "trainer/saved_model.h"

namespace orthant {

// Of all tokens the mean, those that every text begins with too; or one of them.
enum class Pooling { kMean, kLast, kFirst };
const EnumNames<Pooling>& pooling_names();

// Length: hidden_size.  Past the model's longest sequence as log_probabilities: a token sees at
// least half of one before it.  Error(kData) for no token at all.
std::vector<double> pooled_hidden(const Transformer& model, std::span<const int32_t> ids,
                                  Pooling pooling);

struct EmbedTotals {
  int64_t documents = 0, tokens = 0;
};
struct EmbedOptions {
  DocumentOptions documents;
  // .jsonl, or what is no file (base/user_output.h): {"line", "id" where the line has one,
  // "embedding"}; or .h5 (data/embedding_file.h).
  std::string output;
  Pooling pooling = Pooling::kMean;
  bool normalize = false;  // to the length 1
  // After each line.
  std::function<void(const EmbedTotals&, int64_t lines)> progress = {};
};
// Whether it is one of .h5.  Error(kUsage): the name says nothing, or cannot be.
bool is_hdf5_output(const std::string& path);
// The output appears complete or not at all.  Error(kData) "FILE:LINE: ..."; Error(kNumeric) for
// vectors that are no numbers; Error(kCannotWrite).
EmbedTotals embed_file(const SavedModel& model, const EmbedOptions& options);

}  // namespace orthant
