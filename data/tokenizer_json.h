// SPDX-License-Identifier: Apache-2.0
// A tokenizer.json of Hugging Face's `tokenizers` (model type BPE) as a tokenizer, and GPT-2's
// vocab.json with merges.txt, which is turned into one.
//
// encode_with_added(text) gives tokenizers.Tokenizer.encode(text, add_special_tokens=False).ids.
// encode(text) differs in one thing, as the library does with encode_special_tokens: text that
// happens to spell a special token, such as <|endoftext|> in a page about tokenizers, stays text
// and becomes no control token.  Corpora are made with encode, chat templates want
// encode_with_added.  Added tokens that are not special are matched by both.  Bytes that are no
// UTF-8, which the library cannot be given, become byte tokens, or the unknown one.
//
// Parts of documents join: encode_part (data/tokenizer.h) cuts where the words of the whole end, so
// that the ids are those of the whole document.  Where a tokenizer cannot be cut (Strip, an
// expression in a Replace) documents are held in memory whole.
//
// eos, bos and pad come from tokenizer_config.json beside the file (a text or {"content": ...});
// what it does not name, or without it, from well-known names among the special tokens.  Without an
// eos there is no tokenizer: it ends documents.  unk is what the model makes of unknown text.
#pragma once

#include <memory>
#include <string>

#include "data/tokenizer.h"

namespace orthant {

// The content of the two files; `config` is empty where there is none.
struct TokenizerJsonFiles {
  std::string tokenizer, config;
  std::string label;  // stands for the first in messages
};

// A tokenizer of this kind can also do what the library does for whole sequences.
class SequenceTokenizer : public Tokenizer {
 public:
  // encode_with_added between what the file's "post_processor" puts before and behind a sequence:
  // the library's ids with add_special_tokens=True.
  virtual std::vector<int32_t> encode_sequence(std::string_view text) const = 0;
};

// Errors name the file and the JSON path.  Error(kMissingInput), there is no such file;
// Error(kData), it is damaged, says what cannot be, has parts that are not supported, or no eos.
std::unique_ptr<SequenceTokenizer> load_tokenizer_json(const std::string& path);
std::unique_ptr<SequenceTokenizer> parse_tokenizer_json(TokenizerJsonFiles files);

}  // namespace orthant
