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

// A file that a tokenizer needs, by its name in a run directory.
struct ModelFile {
  std::string name;  // tokenizer.model, tokenizer.json, tokenizer_config.json
  std::string content;
};

// Text of a document, the rest of it or the beginning of that.
struct PartRequest {
  std::string_view text;
  size_t want_bytes = 0;   // at most as many as the text has
  bool continues = false;  // the text is not the document's beginning
  bool ends = false;       // nothing of the document follows the text
};

// The ids of the first `bytes` of such a text.
struct EncodedPart {
  std::vector<int32_t> ids;
  size_t bytes = 0;
  // Some of the places in it, in growing order, at which the document may be cut as well: the first
  // `num_ids` ids stand for the bytes before.
  struct Cut {
    size_t bytes, num_ids;
  };
  std::vector<Cut> first_cuts;
};

// The ids of a text, and the byte of it at which each begins: they do not decrease.  Where the
// tokenizer rewrites text (NFC, a dummy space), the byte at which what was rewritten begins.
struct PlacedIds {
  std::vector<int32_t> ids;
  std::vector<size_t> places;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // What it is, whatever its path: "byte", or "sentencepiece:" or "tokenizer.json:" and the
  // XXH3-128 of the model file.  Stored in corpora and checkpoints.
  virtual std::string name() const = 0;
  // Ids are in [0, vocab_size).
  virtual int32_t vocab_size() const = 0;
  virtual SpecialIds special_ids() const = 0;
  // The id that follows the last token of every document.
  virtual int32_t end_of_document() const = 0;
  // Its files; none for a tokenizer that needs none.  In a folder, make_tokenizer finds them.
  virtual const std::vector<ModelFile>& model_files() const = 0;

  // Never adds a special id, and text that spells a special token stays text.  A text that goes on
  // with a document is given with `continues`.
  virtual std::vector<int32_t> encode(std::string_view text, bool continues = false) const = 0;
  // Likewise, but text that spells a special token becomes it, where the tokenizer knows of such:
  // for text that was written with them, as chat templates do.
  virtual std::vector<int32_t> encode_with_added(std::string_view text) const {
    return encode(text);
  }
  // The ids of encode_with_added(text), or those of encode(text), with their places.
  virtual PlacedIds encode_placed(std::string_view text, bool with_added) const = 0;
  // The next part of a long document, at least want_bytes of the text, and no more than it takes
  // for a tokenizer.json to find a place at which the ids of all parts join to those of the whole
  // document.  0 bytes: the text at hand does not show one, come again with more.  Other tokenizers
  // give what want_bytes become alone.
  virtual EncodedPart encode_part(const PartRequest& request) const {
    const std::string_view text = request.text.substr(0, request.want_bytes);
    return {.ids = encode(text, request.continues), .bytes = text.size()};
  }

  // The bytes that a token stands for inside a document; special ids but unk stand for none.
  // Error(kData) for an id outside [0, vocab_size).
  virtual std::string_view token_text(int32_t token) const = 0;
  // How many bytes at its beginning are no text where the token begins a document: a dummy space.
  virtual size_t dummy_bytes(int32_t token) const = 0;

  // The text of tokens that begin a document, or go on with one.
  std::string decode(std::span<const int32_t> tokens, bool continues = false) const;
  // Bytes of text that a token inside a document stands for; 0 for an unknown token, whatever it
  // is printed as.
  int64_t text_bytes(int32_t token) const {
    return token == special_ids().unk ? 0 : static_cast<int64_t>(token_text(token).size());
  }
};

// "byte" (or "bytes"): one token per byte, 256 = end of document, vocab_size 257; decode(encode(x))
// == x for any bytes.  "PATH.model": a SentencePiece model (data/sentencepiece.h).  "PATH.json": a
// tokenizer.json (data/tokenizer_json.h).  A folder: the first it has of tokenizer.json,
// tokenizer.model, and GPT-2's vocab.json with merges.txt; Error(kMissingInput) where it has none.
// Anything else is Error(kConfig).
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec);

}  // namespace orthant
