// SPDX-License-Identifier: Apache-2.0
#include "data/evaluation.h"

#include <algorithm>

#include "base/error.h"

namespace orthant {
namespace {

// Text bytes of the labels among tokens [0, count): of all but the first token of each document.
int64_t label_bytes(Corpus& corpus, const Tokenizer& tokenizer, int64_t count) {
  constexpr int64_t kPiece = int64_t{1} << 20;
  int64_t bytes = 0;
  bool is_label = false;
  std::vector<int32_t> tokens;
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    tokens.resize(static_cast<size_t>(std::min(kPiece, count - begin)));
    corpus.read(begin, tokens);
    for (const int32_t token : tokens) {
      if (is_label) bytes += tokenizer.text_bytes(token);
      is_label = token != tokenizer.end_of_document();
    }
  }
  return bytes;
}

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

EvaluationBatches::EvaluationBatches(std::shared_ptr<Corpus> corpus, const Tokenizer& tokenizer,
                                     const EvaluationOptions& options)
    : corpus_(std::move(corpus)), options_(options) {
  ORTHANT_CHECK(
      options.sequence_length > 0 && options.micro_batch_size > 0 && options.max_tokens >= 0 &&
          options.num_ranks > 0 && options.rank >= 0 && options.rank < options.num_ranks,
      kConfig, "evaluation: want positive sizes, got sequence_length ", options.sequence_length,
      ", micro_batch_size ", options.micro_batch_size, ", tokens ", options.max_tokens, ", rank ",
      options.rank, " of ", options.num_ranks);
  ORTHANT_CHECK(tokenizer.name() == corpus_->tokenizer_name(), kConfig, corpus_->path(),
                ": was prepared with tokenizer '", corpus_->tokenizer_name(), "', not with '",
                tokenizer.name(), "'");
  ORTHANT_CHECK(corpus_->num_tokens() >= 2, kData, corpus_->path(), ": the ",
                split_name(corpus_->split()), " split has ", corpus_->num_tokens(),
                " tokens, want at least 2");
  num_inputs_ = corpus_->num_tokens() - 1;
  if (options.max_tokens > 0) num_inputs_ = std::min(num_inputs_, options.max_tokens);
  num_bytes_ = label_bytes(*corpus_, tokenizer, num_inputs_ + 1);
  num_windows_ = divide_up(num_inputs_, options.sequence_length);
  batches_per_rank_ =
      divide_up(divide_up(num_windows_, options.micro_batch_size), options.num_ranks);
}

MicroBatch EvaluationBatches::batch(int64_t index) const {
  ORTHANT_CHECK(index >= 0 && index < batches_per_rank_, kInternal, "evaluation: batch ", index,
                " of ", batches_per_rank_);
  const int64_t length = options_.sequence_length, rows = options_.micro_batch_size;
  MicroBatch batch = make_padding_batch(rows, length, corpus_->end_of_document());
  std::vector<int32_t> tokens;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t window = (options_.rank * batches_per_rank_ + index) * rows + row;
    if (window >= num_windows_) break;
    const int64_t begin = window * length;
    tokens.resize(static_cast<size_t>(std::min(length, num_inputs_ - begin) + 1));
    corpus_->read(begin, tokens);
    fill_row(batch, row, tokens, corpus_->end_of_document(), window);
  }
  return batch;
}

}  // namespace orthant
