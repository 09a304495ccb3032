// SPDX-License-Identifier: Apache-2.0
// A validation split cut into batches, in order, each label exactly once.
//
// Window w has inputs [w T, (w + 1) T) and the labels one further.  The last window is padded.
// Labels of the first token of a document do not exist (nothing inside the document precedes it).
#pragma once

#include <cstdint>
#include <memory>

#include "data/corpus.h"
#include "data/micro_batch.h"
#include "data/tokenizer.h"

namespace orthant {

struct EvaluationOptions {
  int64_t sequence_length = 0;
  int64_t micro_batch_size = 0;
  int64_t max_tokens = 0;  // stop after this many input tokens; 0: all of the split
  int64_t rank = 0;        // among the ranks that share the work (data-parallel rank)
  int64_t num_ranks = 1;
};

class EvaluationBatches {
 public:
  // Error(kConfig): sizes; Error(kData): a split of fewer than two tokens.
  EvaluationBatches(std::shared_ptr<Corpus> corpus, const Tokenizer& tokenizer,
                    const EvaluationOptions& options);

  // Batches of this rank; the same number on every rank.  Rank r has the r-th contiguous block of
  // them; beyond the end of the text a batch is all padding.
  int64_t num_batches() const { return batches_per_rank_; }
  MicroBatch batch(int64_t index) const;  // index in [0, num_batches)

  // Over all ranks together:
  int64_t num_tokens() const { return num_inputs_; }  // input tokens that are not padding
  // Bytes of text that the labels stand for: bits per byte = summed nats of all labels / ln 2 /
  // this.  The first token of a document is no label, so its bytes, which cost nothing, do not
  // count; an end of document is a label and no text.
  int64_t num_bytes() const { return num_bytes_; }

 private:
  std::shared_ptr<Corpus> corpus_;
  EvaluationOptions options_;
  int64_t num_inputs_ = 0, num_bytes_ = 0, num_windows_ = 0, batches_per_rank_ = 0;
};

}  // namespace orthant
