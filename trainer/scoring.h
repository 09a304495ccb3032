// SPDX-License-Identifier: Apache-2.0
// What a model thinks of given tokens.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/transformer.h"

namespace orthant {

// A row that is one document, without labels.
MicroBatch document_row(std::span<const int32_t> ids);

// log p(ids[i + 1] | ids[0 .. i]) for every i, f64: those of the training pass, to the bit.  Past
// the model's longest sequence a token sees at least half of one before it.  Empty for fewer than
// two tokens.  Error(kData) for an id outside the vocabulary.  Of a model whose layers this rank
// holds alone.
std::vector<double> log_probabilities(const Transformer& model, std::span<const int32_t> ids);

}  // namespace orthant
