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

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // What `make_tokenizer` was given; stored in corpora and checkpoints.
  virtual std::string name() const = 0;
  // Ids are in [0, vocab_size).
  virtual int32_t vocab_size() const = 0;
  // Never adds end_of_document.  Long texts are handed over in pieces (see data/prepare.h).
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  // end_of_document stands for no text.  Error(kData) for an id outside [0, vocab_size).
  virtual std::string decode(std::span<const int32_t> tokens) const = 0;
  // The id that follows the last token of every document.
  virtual int32_t end_of_document() const = 0;
};

// "byte": one token per byte, 256 = end of document, vocab_size 257; decode(encode(x)) == x for any
// bytes. Another name is Error(kConfig), which lists the known ones.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name);

}  // namespace orthant
