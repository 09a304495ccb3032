// SPDX-License-Identifier: Apache-2.0
// Micro-batches of random tokens that have everything a real step may have.
#pragma once

#include <cstdint>
#include <vector>

#include "data/micro_batch.h"

namespace orthant::testing {

struct BatchRecipe {
  int64_t micro_batches = 8, sequences = 1;  // of a step, of a micro-batch
  int64_t length = 16;
  int32_t vocab = 61;
};

// The micro-batches of a step, in global order; a pure function of recipe and step.  Rows take
// turns: one document, packed documents, padding at the end, a prompt without labels, tokens but no
// label at all, nothing but padding, packed with padding, padding that sees the text before it (so
// that its activations are not zero).  Sample ids go on from step to step; at 16 rows a step, each
// of the first three steps has a row that token dropping leaves alone (moe/protected_rows.h).
std::vector<MicroBatch> random_batches(const BatchRecipe& recipe, int64_t step);

}  // namespace orthant::testing
