// SPDX-License-Identifier: Apache-2.0
// Trains a SentencePiece tokenizer (`orthant tokenizer train`).
//
// The model neither normalises nor adds or drops spaces, so that with byte fallback every text
// comes back to the byte.  Ids: 0 <unk>, 1 <s>, 2 </s> (end of document), 3 <pad>, with byte
// fallback 4 to 259 the bytes, then the pieces.
//
// The same text, options and library give the same file: one thread, and a sample that depends on
// nothing but the lines' numbers.  Methods: Kudo, "Subword regularization", ACL 2018 (unigram);
// Sennrich et al., "Neural machine translation of rare words with subword units", ACL 2016 (bpe).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/text_notes.h"

namespace orthant {

struct TokenizerTrainingOptions {
  std::vector<std::string> inputs;           // .txt, .jsonl, each also .gz or .zst
  std::string format = "auto";               // as for prepare
  BadLines bad_lines = BadLines::kFail;      // likewise
  int64_t vocab_size = 0;                    // exactly that many ids
  std::string model = "unigram";             // unigram | bpe
  double character_coverage = 0.9995;        // share of the text's characters that get pieces
  bool byte_fallback = true;                 // the other characters become bytes instead of <unk>
  bool split_digits = false;                 // a piece has at most one digit
  int64_t sample_bytes = int64_t{64} << 20;  // about; lines are drawn from more text than that
  bool library_log = false;                  // the library's own messages, on stderr
  // Told now and then, from this or another thread.
  std::function<void(const std::string& what)> progress;
};

struct TrainedTokenizer {
  std::string file;                        // content of the .model file
  std::string name;                        // of the tokenizer (data/tokenizer.h)
  int64_t text_bytes = 0, used_bytes = 0;  // of all inputs; of the sample
  double bytes_per_token = 0;              // over the first MiBs of the sample
  double seconds = 0;
  TextNotes notes;  // what was wrong with the inputs
};

// Errors: kMissingInput and kData for inputs as `prepare`; kData, a vocabulary that the text is too
// small for, naming the largest that works, or one too small for the text's characters; kUsage,
// options.
TrainedTokenizer train_tokenizer(const TokenizerTrainingOptions& options);

}  // namespace orthant
