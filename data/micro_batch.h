// SPDX-License-Identifier: Apache-2.0
// One micro-batch of token rows, in plain host memory.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace orthant {

inline constexpr int32_t kIgnoredLabel = -1;

// Named columns.  Rows may hold several documents ("packing").  All columns but those of sequences
// are [sequences * length], row by row.
struct MicroBatch {
  int64_t sequences = 0, length = 0;
  // Input tokens; < 0 and what padding has: see make_padding_batch.
  std::vector<int32_t> ids;
  // The next token; kIgnoredLabel: none (after an end of document, padding).
  std::vector<int32_t> labels;
  // index - doc_start: position inside the document's part of the row.
  std::vector<int32_t> positions;
  // Index, inside the row, of the first token of this token's document; a token attends to
  // [doc_start, itself].
  std::vector<int32_t> doc_start;
  // [sequences] global sample indices; -1: a row of padding.
  std::vector<int64_t> sample_ids;
  // What an objective asks for beside these, by name: a number a token, or a sequence.
  std::map<std::string, std::vector<double>> token_columns, sequence_columns;
  // The same of this rank's local rows alone (parallel/token_rows.h), as another role gave it.
  std::map<std::string, Tensor> local_rows;

  int64_t num_tokens() const { return sequences * length; }
  int64_t num_labels() const;  // labels that count
};

// What multi-token prediction wants of each token: the next one, whatever its label, and the label
// of that one; -1 where the token's document has none, or the token has no label itself.
struct NextColumns {
  std::vector<int32_t> ids, labels;
};
NextColumns next_columns(const MicroBatch& batch);

// All rows are padding: ids `pad`, labels ignored, every token its own document, sample_ids -1.
MicroBatch make_padding_batch(int64_t sequences, int64_t length, int32_t pad);

// Fills row `row` from `tokens`, at most length + 1 of them: inputs are tokens[0 .. n-1), labels
// tokens[1 .. n).  What a shorter row lacks stays padding.  `end_of_document` ends a document.
void fill_row(MicroBatch& batch, int64_t row, std::span<const int32_t> tokens,
              int32_t end_of_document, int64_t sample_id);

}  // namespace orthant
