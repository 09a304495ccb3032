// SPDX-License-Identifier: Apache-2.0
// What the tokens of a tokenizer.json stand for: "decoder".
//
// ByteLevel, Metaspace, and Sequence of Replace (of a text), ByteFallback, Strip, Fuse; behind Fuse
// a Strip at the beginning alone, which is a document's dummy space.  Anything else is refused by
// name, so that each token has a text of its own.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/bpe/json_place.h"

namespace orthant {

class TokenDecoder {
 public:
  explicit TokenDecoder(const JsonPlace& place);

  // The bytes of a token as the vocabulary writes it.
  std::string text_of(std::string_view token) const;
  // How many bytes at the beginning of text_of(token) are no text where it begins a document.
  size_t dummy_bytes(std::string_view token) const;

 private:
  enum class Kind { kByteLevel, kReplace, kByteFallback, kStrip };
  struct Step {
    Kind kind;
    std::string from{}, to{};  // of kReplace; of kStrip: `from` is taken off
    size_t start = 0, stop = 0;
  };
  void add(const JsonPlace& place);
  void add_strip(const JsonPlace& place);

  std::vector<Step> steps_;
  bool is_fused_ = false;
  std::string dummy_;        // what a document's first token loses
  size_t most_dummies_ = 0;  // and how often
};

}  // namespace orthant
