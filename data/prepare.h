// SPDX-License-Identifier: Apache-2.0
// Turns text into a corpus: .txt and .jsonl files, either also as .gz or .zst, into one .h5 file.
//
// A .txt file is one document, a line of a .jsonl file ({"text": "..."}) is one document.  A
// document becomes its tokens followed by the tokenizer's end of document.
//
// Which text is validation text (the rule depends on nothing but the input's content):
//  - a .txt file is a long document: its last `validation_fraction`, counted in bytes and cut
//    between two UTF-8 characters, as nanoGPT does (fraction 0.1 of ASCII text is the same split);
//  - the lines of all .jsonl files stay whole.  They are taken in the order of a hash of their
//    text until their bytes come nearest to the fraction; at least one line, never all of them.
//    So validation is spread over the input, and equal documents are on the same side.  Where
//    there is only one distinct line, it is cut like a .txt file.
//  - with `validation_inputs`, all of `inputs` is for training and all of those for validation.
//
// With `redact`, all of this is about the text with its markers.
//
// Text is read twice (once for sizes and hashes, once for tokens), in pieces of at most 1 MiB
// (.txt) or 16 MiB (.jsonl), cut after a newline where there is one.  As many files are read at
// once as there are threads; where there are fewer files the pieces of each are encoded on several
// threads, and with a tokenizer.json their ids join to those of the whole document
// (data/document_encoder.h).  The corpus is the same for any number of threads.  Memory is bounded
// by some MiB for each thread and, for each .jsonl file that is read at once, about four times its
// longest line, and that by 2 GiB.  Tokens wait in unnamed files beside the output, which needs
// that much free disk once more.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "data/redaction.h"
#include "data/text_notes.h"

namespace orthant {

struct PrepareOptions {
  std::vector<std::string> inputs;             // training text, split by validation_fraction
  std::vector<std::string> validation_inputs;  // explicit validation text; may stand alone
  std::string output;                          // .h5
  std::string tokenizer = "byte";              // for make_tokenizer
  double validation_fraction = 0.05;           // in [0, 1); not used with validation_inputs
  std::string format = "auto";                 // auto (by name) | text | jsonl
  BadLines bad_lines = BadLines::kFail;        // kSkip also leaves out files without any text
  bool redact = false;                         // markers stand for personal data
  // Called now and then, and at the end with fraction 1: share of the work done, tokens per second.
  std::function<void(double fraction, double tokens_per_second)> progress;
};

struct PrepareReport {
  SplitInfo train, validation;
  int64_t num_documents = 0;        // of the input; a document that is cut counts once
  int64_t num_empty_documents = 0;  // "text": "" in .jsonl; left out
  RedactionCounts redactions;
  int64_t num_unknown_tokens = 0;   // text that the tokenizer has no token for
  bool gives_text_back = true;      // decoding the corpus gives the text to the byte
  double unigram_entropy_bits = 0;  // bits per token of the training split (of validation if alone)
  int32_t vocab_size = 0;
  std::string fingerprint;
  int64_t output_bytes = 0;
  double seconds = 0;
  TextNotes notes;  // what was wrong with the inputs
};

// Errors: kMissingInput, an input does not exist; kData, "FILE:LINE: ..." for a bad line (data/
// jsonl.h, or longer than 2 GiB) unless bad lines are left out, for a truncated .gz or .zst, for
// inputs without any text, of several the one that stands first in the inputs; as make_tokenizer;
// kConfig, fraction, format or kind of file; kCannotWrite. The output appears complete or not at
// all; an older one is replaced.
PrepareReport prepare(const PrepareOptions& options);

// The XXH3-128 (hexadecimal) and size of a file.
CorpusSource fingerprint_file(const std::string& path);

}  // namespace orthant
