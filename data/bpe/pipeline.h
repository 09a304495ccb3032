// SPDX-License-Identifier: Apache-2.0
// Text to ids by the parts of a tokenizer.json, in their order: added tokens, normalizer, added
// tokens of normalized text, pre-tokenizer, model.
#pragma once

#include <span>
#include <vector>

#include "data/bpe/added_tokens.h"
#include "data/bpe/model.h"
#include "data/bpe/normalizer.h"
#include "data/bpe/pre_tokenizer.h"
#include "data/bpe/word_cache.h"
#include "data/tokenizer.h"

namespace orthant {

// What encoding works in.  One for each thread that encodes, for one tokenizer.
struct PipelineScratch {
  MatchScratch match;
  MergeScratch merge;
  WordCache cache;
  std::vector<Rewriting> normalized;
};

// Immutable.
class Pipeline {
 public:
  explicit Pipeline(const JsonPlace& root);

  struct Request {
    std::string_view text;
    bool begins = true;            // the text begins a document, and does not go on with one
    bool ends = true;              // nothing follows the text
    bool with_special = true;      // text that spells a special token becomes it
    size_t want_bytes = SIZE_MAX;  // stop at the first cut at or behind here
    std::vector<size_t>* places = nullptr;  // gets the byte at which each id begins
  };
  // As Tokenizer::encode_part; with want_bytes behind the text and `ends`, all of it.
  EncodedPart encode(const Request& request, PipelineScratch& scratch) const;

  const BpeModel& model() const { return model_; }
  std::span<const AddedToken> added() const { return added_; }

 private:
  friend class PipelineRun;
  void add_matchers();
  bool can_cut() const;
  size_t settled_bytes(std::string_view text) const;

  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  BpeModel model_;
  std::vector<AddedToken> added_;
  AddedTokenMatcher raw_, normalized_;
};

}  // namespace orthant
