// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back.
//
// Implementations are immutable after construction: one object may serve several threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orthant {

// Ids with a meaning of their own; -1: the tokenizer has no such id.
struct SpecialIds {
  int32_t bos = -1, eos = -1, unk = -1, pad = -1;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // What it is, whatever its path: "byte", or "sentencepiece:" and the XXH3-128 of the model file.
  // Stored in corpora and checkpoints.
  virtual std::string name() const = 0;
  // Ids are in [0, vocab_size).
  virtual int32_t vocab_size() const = 0;
  virtual SpecialIds special_ids() const = 0;
  // The id that follows the last token of every document.
  virtual int32_t end_of_document() const = 0;
  // The content of its file; empty for a tokenizer that needs none.
  virtual const std::string& model_file() const = 0;

  // Never adds a special id.  Long documents are handed over in pieces (data/prepare.h): all but
  // the first of a document with `continues`.
  virtual std::vector<int32_t> encode(std::string_view text, bool continues = false) const = 0;

  // The bytes that a token stands for inside a document; special ids but unk stand for none.
  // Error(kData) for an id outside [0, vocab_size).
  virtual std::string_view token_text(int32_t token) const = 0;
  // Whether a token's leading space is no text where it begins a document.
  virtual bool has_dummy_space(int32_t token) const = 0;

  // The text of tokens that begin a document, or go on with one.
  std::string decode(std::span<const int32_t> tokens, bool continues = false) const;
  // Bytes of text that a token inside a document stands for; 0 for an unknown token, whatever it
  // is printed as.
  int64_t text_bytes(int32_t token) const {
    return token == special_ids().unk ? 0 : static_cast<int64_t>(token_text(token).size());
  }
};

// "byte" (or "bytes"): one token per byte, 256 = end of document, vocab_size 257; decode(encode(x))
// == x for any bytes.  "PATH.model": a SentencePiece model (data/sentencepiece.h).  Anything else
// is Error(kConfig).
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec);

}  // namespace orthant
