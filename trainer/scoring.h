// SPDX-License-Identifier: Apache-2.0
// What a model thinks of given tokens.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "model/transformer.h"

namespace orthant {

// A row that is one document, without labels.
MicroBatch document_row(std::span<const int32_t> ids);

// Hidden states behind the final norm, of every token once, in order: `rows` are those from token
// `begin` on.  Those of the training pass, to the bit; past the model's longest sequence a token
// sees at least half of one before it.  Error(kData) for an id outside the vocabulary.  Of a model
// whose layers this rank holds alone.
void for_hidden_rows(const Transformer& model, std::span<const int32_t> ids,
                     FunctionRef<void(const Tensor& rows, int64_t begin)> use);

// log p(ids[i + 1] | ids[0 .. i]) for every i, f64, from the same rows.  Empty for fewer than two
// tokens.  Errors likewise.
std::vector<double> log_probabilities(const Transformer& model, std::span<const int32_t> ids);

}  // namespace orthant
