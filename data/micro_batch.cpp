// SPDX-License-Identifier: Apache-2.0
#include "data/micro_batch.h"

#include <algorithm>

#include "base/error.h"

namespace orthant {

int64_t MicroBatch::num_labels() const {
  return std::count_if(labels.begin(), labels.end(),
                       [](int32_t label) { return label != kIgnoredLabel; });
}

NextColumns next_columns(const MicroBatch& batch) {
  NextColumns next{batch.labels,
                   std::vector<int32_t>(static_cast<size_t>(batch.num_tokens()), kIgnoredLabel)};
  for (size_t i = 0; i + 1 < next.ids.size(); ++i) {
    const bool ends_row = (i + 1) % static_cast<size_t>(batch.length) == 0;
    if (ends_row || batch.doc_start[i + 1] != batch.doc_start[i]) continue;
    next.ids[i] = batch.ids[i + 1];
    if (batch.labels[i] != kIgnoredLabel) next.labels[i] = batch.labels[i + 1];
  }
  return next;
}

MicroBatch make_padding_batch(int64_t sequences, int64_t length, int32_t pad) {
  MicroBatch batch;
  batch.sequences = sequences;
  batch.length = length;
  const size_t size = static_cast<size_t>(sequences * length);
  batch.ids.assign(size, pad);
  batch.labels.assign(size, kIgnoredLabel);
  batch.positions.assign(size, 0);
  batch.doc_start.resize(size);
  // Each padding token is its own document: it costs no attention and sees no text.
  for (size_t i = 0; i < size; ++i)
    batch.doc_start[i] = static_cast<int32_t>(i % static_cast<size_t>(length));
  batch.sample_ids.assign(static_cast<size_t>(sequences), -1);
  return batch;
}

void fill_row(MicroBatch& batch, int64_t row, std::span<const int32_t> tokens,
              int32_t end_of_document, int64_t sample_id) {
  ORTHANT_CHECK(
      row >= 0 && row < batch.sequences && static_cast<int64_t>(tokens.size()) <= batch.length + 1,
      kInternal, "fill_row: row ", row, " with ", tokens.size(), " tokens does not fit a batch of ",
      batch.sequences, " x ", batch.length);
  batch.sample_ids[static_cast<size_t>(row)] = sample_id;
  const size_t base = static_cast<size_t>(row * batch.length);
  int32_t start = 0;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    const bool ends = tokens[i] == end_of_document;
    batch.ids[base + i] = tokens[i];
    // What follows an end of document belongs to another document: nothing here predicts it.
    batch.labels[base + i] = ends ? kIgnoredLabel : tokens[i + 1];
    batch.doc_start[base + i] = start;
    batch.positions[base + i] = static_cast<int32_t>(i) - start;
    if (ends) start = static_cast<int32_t>(i) + 1;
  }
}

}  // namespace orthant
